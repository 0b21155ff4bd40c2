// moodycamel::ConcurrentQueue. Its blocks are linked by pointers, so it cannot live in
// shared memory: threads. One producer has a token, as its documentation advises; several
// have none, because a producer with a token keeps its blocks, and with bounded memory the
// first would keep all of them.
#include <concurrentqueue/concurrentqueue.h>

#include "rival.hpp"
using namespace rival;

template <class S>
struct Link {
    using Queue = moodycamel::ConcurrentQueue<S>;
    Queue* q;
    std::unique_ptr<moodycamel::ProducerToken> producer;
    std::unique_ptr<moodycamel::ConsumerToken> consumer;
    Link(const Job& job, const char* name, bool sender, bool many) {
        int producers = job.producers;
        q = common<Queue>(name, [=] { return new Queue(slots<S>, many ? 0 : 1, many ? producers : 0); });
        if (sender && many) return;
        if (sender) producer = std::make_unique<moodycamel::ProducerToken>(*q);
        else consumer = std::make_unique<moodycamel::ConsumerToken>(*q);
    }
    void send(const S& m) {
        if (producer) spin([&] { return q->try_enqueue(*producer, m); });
        else spin([&] { return q->try_enqueue(m); });
    }
    void recv(S& m) {
        spin([&] { return q->try_dequeue(*consumer, m); });
    }
    void send_many(const S* m, size_t n) {
        spin([&] { return q->try_enqueue_bulk(*producer, m, n); });
    }
    size_t recv_many(S* m, size_t n) {
        size_t k;
        spin([&] { return (k = q->try_dequeue_bulk(*consumer, m, n)) > 0; });
        return k;
    }
};
RIVAL(Link, 1 << 20)
