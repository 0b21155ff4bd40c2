// The limit of round trips: lines of shared memory for each direction, and nothing else. The
// message's first word, which is another one each time, says that it is there; it is stored
// last and polled, and the rest, which begins on the same line, is copied out behind it. With
// PAUSE there is one in each poll, which some machines are quicker with and some slower.
#include "rival.hpp"
using namespace rival;

template <class S>
struct Link {
    struct Lines {
        alignas(128) std::atomic<uint64_t> word;
        char rest[S::max - 8 + 64];
    };
    Lines* lines;
    uint64_t seen = ~uint64_t{0};
    Link(const Job& job, const char* name, bool sender, bool) {
        lines = shared<Lines>(job, name, sender, [](Lines* l) { l->word = ~uint64_t{0}; });
    }
    void send(const S& m) {
        memcpy(lines->rest, m.bytes + 8, S::max - 8);
        lines->word.store(head(m), std::memory_order_release);
    }
    void recv(S& m) {
        uint64_t w;
        while ((w = lines->word.load(std::memory_order_acquire)) == seen) {
#ifdef PAUSE
            relax();
#endif
        }
        set_head(m, seen = w);
        memcpy(m.bytes + 8, lines->rest, S::max - 8);
    }
};
RIVAL(Link, 1016)
