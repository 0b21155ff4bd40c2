// ConcurrencyKit's ck_ring with messages as entries, as CK_RING_PROTOTYPE makes them, in
// shared memory: SPSC, or MPSC where the work has several producers.
#include "rival.hpp"

#define false 0 // its header returns false for a null pointer, which is C
#include <ck_ring.h>
#undef false

using namespace rival;

template <class S>
struct Link {
    struct Queue {
        ck_ring_t ring;
        alignas(128) S entries[slots<S>];
    };
    Queue* q;
    bool many;
    Link(const Job& job, const char* name, bool sender, bool m) : many(m) {
        q = shared<Queue>(job, name, sender, [](Queue* q) { ck_ring_init(&q->ring, slots<S>); });
    }
    void send(const S& m) {
        if (many) spin([&] { return _ck_ring_enqueue_mp(&q->ring, q->entries, &m, sizeof m, nullptr); });
        else spin([&] { return _ck_ring_enqueue_sp(&q->ring, q->entries, &m, sizeof m, nullptr); });
    }
    void recv(S& m) {
        spin([&] { return _ck_ring_dequeue_sc(&q->ring, q->entries, &m, sizeof m); });
    }
};
RIVAL(Link, 1 << 20)
