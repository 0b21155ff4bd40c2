// moodycamel::ReaderWriterQueue. Its blocks are linked by pointers, so it cannot live in
// shared memory: two threads.
#include <readerwriterqueue/readerwriterqueue.h>

#include "rival.hpp"
using namespace rival;

template <class S>
struct Link {
    using Queue = moodycamel::ReaderWriterQueue<S>;
    Queue* q;
    Link(const Job&, const char* name, bool, bool) { q = common<Queue>(name, [] { return new Queue(slots<S>); }); }
    void send(const S& m) {
        spin([&] { return q->try_enqueue(m); });
    }
    void recv(S& m) {
        spin([&] { return q->try_dequeue(m); });
    }
};
RIVAL(Link, 1 << 20)
