// The limit of round trips: one word on a line of its own for each direction, stored by
// one side and polled by the other.
#include "rival.hpp"
using namespace rival;

template <class S>
struct Link {
    struct Line {
        alignas(128) std::atomic<uint64_t> word;
        char rest[120];
    };
    Line* line;
    uint64_t seen = ~uint64_t{0};
    Link(const Job& job, const char* name, bool sender, bool) {
        line = shared<Line>(job, name, sender, [](Line* l) { l->word = ~uint64_t{0}; });
    }
    void send(const S& m) { line->word.store(head(m), std::memory_order_release); }
    void recv(S& m) {
        uint64_t w;
        while ((w = line->word.load(std::memory_order_acquire)) == seen) {
        }
        set_head(m, seen = w);
    }
};
RIVAL(Link, 32)
