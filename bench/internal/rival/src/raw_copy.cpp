// The limit of bandwidth: a few blocks in turn, each with one word that says whose it is;
// one side copies in, the other out. The C library's memcpy turns to instructions for long
// copies (rep movsb, stores past the cache) that are slow between cores on some machines,
// so with LOOP there is also a plain loop; whichever is faster is the limit.
#include "rival.hpp"
using namespace rival;

inline void copy(char* to, const char* from, size_t n) {
#ifdef LOOP
    for (; n >= 64; n -= 64, to += 64, from += 64) __builtin_memcpy(to, from, 64);
#endif
    memcpy(to, from, n);
}

template <class S>
struct Link {
    static constexpr size_t blocks = BLOCKS ? BLOCKS : slots<S>;
    struct Queue {
        struct {
            alignas(128) std::atomic<uint64_t> full;
        } word[blocks];
        alignas(4096) S block[blocks];
    };
    Queue* q;
    size_t at = 0;
    Link(const Job& job, const char* name, bool sender, bool) { q = shared<Queue>(job, name, sender, [](Queue*) {}); }
    void send(const S& m) {
        while (q->word[at].full.load(std::memory_order_acquire)) relax();
        copy(q->block[at].bytes, m.bytes, S::max);
        q->word[at].full.store(1, std::memory_order_release);
        at = (at + 1) % blocks;
    }
    void recv(S& m) {
        while (!q->word[at].full.load(std::memory_order_acquire)) relax();
        copy(m.bytes, q->block[at].bytes, S::max);
        q->word[at].full.store(0, std::memory_order_release);
        at = (at + 1) % blocks;
    }
};
RIVAL(Link, 1 << 20)
