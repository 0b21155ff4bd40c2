// The textbook's bounded buffer in a SysV segment with three SysV semaphores: free slots,
// full slots, and a mutex. Whoever started us made both, one of each for each direction,
// and removes them: the segment's id and those of the semaphores are consecutive numbers
// of ours, "there" first.
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "rival.hpp"
using namespace rival;

template <class S>
struct Link {
    struct Queue {
        size_t head, count;
        S entries[slots<S>];
    };
    Queue* q;
    int sem, first; // of six semaphores: free, full, mutex
    Link(const Job& job, const char* name, bool, bool) : sem(job.sem), first(strcmp(name, "back") ? 0 : 3) {
        auto* mem = static_cast<Queue*>(shmat(job.shm, nullptr, 0));
        if (mem == reinterpret_cast<void*>(-1)) fail("shmat");
        q = mem + (first ? 1 : 0);
    }
    void op(int a, int da, int b, int db) {
        sembuf ops[2] = {{static_cast<unsigned short>(first + a), static_cast<short>(da), 0},
                         {static_cast<unsigned short>(first + b), static_cast<short>(db), 0}};
        while (semop(sem, ops, 2) < 0)
            if (errno != EINTR) fail("semop");
    }
    void send(const S& m) {
        op(0, -1, 2, -1);
        q->entries[(q->head + q->count++) % room()] = m;
        op(2, 1, 1, 1);
    }
    void recv(S& m) {
        op(1, -1, 2, -1);
        m = q->entries[q->head];
        q->head = (q->head + 1) % room(), q->count--;
        op(2, 1, 0, 1);
    }
    static constexpr size_t room() { return slots<S>; }
};
RIVAL(Link, 1 << 20)
