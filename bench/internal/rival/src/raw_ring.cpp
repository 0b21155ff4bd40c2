// The ring of raw_ring.h among the rivals.
#include "rival.hpp"
#define _Alignas alignas
#include "raw_ring.h"
using namespace rival;

template <class S>
struct Link {
    // Room as the others have it; for trips a few slots, which stay in the nearest cache.
    struct Area {
        alignas(128) char bytes[sizeof(raw_ring) + slots<S> * ((8 + S::max + 63) / 64 * 64)];
    };
    static constexpr size_t size = S::max;
    raw_end end{};
    const bool words;
    Link(const Job& job, const char* name, bool sender, bool) : words(job.trips()) {
        end.ring = reinterpret_cast<raw_ring*>(shared<Area>(job, name, sender, [](Area*) {})->bytes);
        end.mask = (words ? 8 : slots<S>) - 1;
    }
    void send(const S& m) {
        if (words) return raw_send_word(&end, m.bytes, size);
        raw_write(&end, m.bytes, size);
        raw_publish(&end);
    }
    void recv(S& m) {
        if (words) return raw_recv_word(&end, m.bytes, size);
        raw_read(&end, m.bytes, size);
    }
    void send_many(const S* m, size_t n) {
        for (size_t i = 0; i < n; i++) raw_write(&end, m[i].bytes, size);
        raw_publish(&end);
    }
    size_t recv_many(S* m, size_t n) {
        raw_wait(&end);
        n = std::min<size_t>(n, end.other - end.at);
        for (size_t i = 0; i < n; i++) raw_read(&end, m[i].bytes, size);
        return n;
    }
};
RIVAL(Link, 1 << 20)
