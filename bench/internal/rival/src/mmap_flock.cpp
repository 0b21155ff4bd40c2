// Slots in a mapped file, every access under flock, and who finds nothing tries again.
#include <sys/file.h>

#include "rival.hpp"
using namespace rival;

template <class S>
struct Link {
    struct Queue {
        size_t head, count;
        S entries[slots<S>];
    };
    Queue* q;
    int fd;
    Link(const Job& job, const char* name, bool sender, bool) {
        q = shared<Queue>(job, name, sender, [](Queue*) {});
        std::string path = job.dir + "/" + name;
        if ((fd = open(path.c_str(), O_RDWR | O_CLOEXEC)) < 0) fail(path);
    }
    template <class F>
    bool locked(F f) {
        if (flock(fd, LOCK_EX) < 0) fail("flock");
        bool done = f();
        flock(fd, LOCK_UN);
        return done;
    }
    void send(const S& m) {
        while (!locked([&] {
            if (q->count == slots<S>) return false;
            q->entries[(q->head + q->count++) % slots<S>] = m;
            return true;
        })) sched_yield();
    }
    void recv(S& m) {
        while (!locked([&] {
            if (q->count == 0) return false;
            m = q->entries[q->head];
            q->head = (q->head + 1) % slots<S>, q->count--;
            return true;
        })) sched_yield();
    }
};
RIVAL(Link, 1 << 20)
