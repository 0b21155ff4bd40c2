// boost::lockfree::spsc_queue with its slots inside the object, in shared memory.
#include <boost/lockfree/spsc_queue.hpp>

#include "rival.hpp"
using namespace rival;

template <class S>
struct Link {
    using Queue = boost::lockfree::spsc_queue<S, boost::lockfree::capacity<slots<S>>>;
    Queue* q;
    Link(const Job& job, const char* name, bool sender, bool) { q = shared<Queue>(job, name, sender, [](Queue* q) { new (q) Queue; }); }
    void send(const S& m) {
        spin([&] { return q->push(m); });
    }
    void recv(S& m) {
        spin([&] { return q->pop(m); });
    }
    void send_many(const S* m, size_t n) {
        spin([&] {
            size_t k = q->push(m, n);
            m += k, n -= k;
            return n == 0;
        });
    }
    size_t recv_many(S* m, size_t n) {
        size_t k;
        spin([&] { return (k = q->pop(m, n)) > 0; });
        return k;
    }
};
RIVAL(Link, 1 << 20)
