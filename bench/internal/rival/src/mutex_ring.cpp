// The textbook's bounded buffer: slots in shared memory, one process-shared mutex, two
// condition variables.
#include "rival.hpp"
using namespace rival;

template <class S>
struct Link {
    struct Queue {
        pthread_mutex_t lock;
        pthread_cond_t data, space;
        size_t head, count;
        S entries[slots<S>];
    };
    Queue* q;
    Link(const Job& job, const char* name, bool sender, bool) {
        q = shared<Queue>(job, name, sender, [](Queue* q) {
            pthread_mutexattr_t ma;
            pthread_condattr_t ca;
            pthread_mutexattr_init(&ma), pthread_condattr_init(&ca);
            pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED), pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
            pthread_mutex_init(&q->lock, &ma), pthread_cond_init(&q->data, &ca), pthread_cond_init(&q->space, &ca);
        });
    }
    void send(const S& m) {
        pthread_mutex_lock(&q->lock);
        while (q->count == slots<S>) pthread_cond_wait(&q->space, &q->lock);
        q->entries[(q->head + q->count++) % slots<S>] = m;
        pthread_cond_signal(&q->data);
        pthread_mutex_unlock(&q->lock);
    }
    void recv(S& m) {
        pthread_mutex_lock(&q->lock);
        while (q->count == 0) pthread_cond_wait(&q->data, &q->lock);
        m = q->entries[q->head];
        q->head = (q->head + 1) % slots<S>, q->count--;
        pthread_cond_signal(&q->space);
        pthread_mutex_unlock(&q->lock);
    }
};
RIVAL(Link, 1 << 20)
