/*
 * The quickest ring that we know how to write in C, with every trick and no guarantee, so
 * that what shmring guarantees has a price in numbers. It is for one producer and one
 * consumer who trust each other and never die:
 *
 *   - no word that a peer stored is checked, and a message has no length: all have one size;
 *   - a process that dies leaves the other waiting for ever, and a successor cannot know
 *     what was received;
 *   - nobody sleeps, nobody counts, nobody can look in.
 *
 * The tricks: sizes are powers of two; messages stand one behind the other, several on a
 * line; each side keeps its own position and a copy of the other's, which it loads only when
 * that says there is no room or no message; the consumer gives room back an eighth of the
 * ring at a time; several messages are published by one store; lines are asked for, eight at
 * a time, before they are written; long copies into the ring are string moves, which take
 * whole lines without reading them first. A consumer that has caught up with a stream waits a
 * moment, so that it does not take each line from under the producer.
 *
 * For round trips there is another ring, of slots with a word of their own in front: such a
 * message comes over with the word that announces it, where the ring of positions needs a
 * line for each.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct raw_side {
    _Alignas(128) uint64_t mine; /* published: of the producer, messages sent; of the consumer, received */
    char rest[120];
};

struct raw_ring {
    struct raw_side producer, consumer;
    _Alignas(128) char bytes[];
};

/* raw_end is what one side keeps to itself. */
struct raw_end {
    struct raw_ring* ring;
    uint64_t mask;     /* messages of the ring, a power of two, less one */
    uint64_t at;       /* the next message */
    uint64_t other;    /* the other side's position when it was last loaded */
    uint64_t released; /* of the consumer: the last position that was published */
};

#define RAW_LONG 2048 /* bytes from which on a copy into the ring is a string move */
#define RAW_REST 100  /* PAUSEs of a consumer that has caught up with a stream */
#define RAW_AHEAD 512 /* bytes that are asked for at a time: eight lines, before the first is written */

static inline void raw_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static inline void raw_put(char* to, const void* from, size_t n) {
#if defined(__x86_64__)
    if (n >= RAW_LONG) {
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
        return;
    }
#endif
    memcpy(to, from, n);
}

static inline uint64_t raw_load(const uint64_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline void raw_store(uint64_t* word, uint64_t v) { __atomic_store_n(word, v, __ATOMIC_RELEASE); }

/* raw_room waits for room for a message. */
static inline void raw_room(struct raw_end* e) {
    while (__builtin_expect(e->at - e->other > e->mask, 0)) {
        e->other = raw_load(&e->ring->consumer.mine);
        if (e->at - e->other > e->mask) raw_relax();
    }
}

/* raw_ahead asks for the lines behind these, once for each RAW_AHEAD bytes. String moves do
 * that themselves. */
static inline void raw_ahead(const char* to, size_t at, size_t size) {
    if (size >= RAW_LONG || (at & (RAW_AHEAD - 1)) >= size) return;
    for (size_t i = 0; i < (size + RAW_AHEAD - 1) / RAW_AHEAD * RAW_AHEAD; i += 64)
        __builtin_prefetch(to + RAW_AHEAD + i, 1, 3);
}

static inline void raw_write(struct raw_end* e, const void* m, size_t size) {
    raw_room(e);
    size_t at = (e->at++ & e->mask) * size;
    char* to = e->ring->bytes + at;
    raw_ahead(to, at, size);
    raw_put(to, m, size);
}

static inline void raw_publish(struct raw_end* e) { raw_store(&e->ring->producer.mine, e->at); }

/* raw_wait waits for a message. */
static inline void raw_wait(struct raw_end* e) {
    while (__builtin_expect(e->at == e->other, 0)) {
        if (e->at != e->released) raw_store(&e->ring->consumer.mine, e->released = e->at);
        e->other = raw_load(&e->ring->producer.mine);
        if (e->at == e->other)
            for (int i = 0; i < RAW_REST; i++) raw_relax();
    }
}

static inline void raw_read(struct raw_end* e, void* m, size_t size) {
    raw_wait(e);
    memcpy(m, e->ring->bytes + (e->at++ & e->mask) * size, size);
    if (__builtin_expect(e->at - e->released > e->mask >> 3, 0)) raw_store(&e->ring->consumer.mine, e->released = e->at);
}

/* The ring of words: slot i of lap k is full when its word is k + 1. Nobody runs ahead by a
 * lap, because each message is answered before the next. */
static inline size_t raw_stride(size_t size) { return (8 + size + 63) & ~(size_t)63; }

static inline void raw_send_word(struct raw_end* e, const void* m, size_t size) {
    char* slot = e->ring->bytes + (e->at & e->mask) * raw_stride(size);
    memcpy(slot + 8, m, size);
    raw_store((uint64_t*)slot, ++e->at);
}

static inline void raw_recv_word(struct raw_end* e, void* m, size_t size) {
    char* slot = e->ring->bytes + (e->at & e->mask) * raw_stride(size);
    e->at++;
    while (raw_load((uint64_t*)slot) != e->at) raw_relax();
    memcpy(m, slot + 8, size);
}
