/*
 * An example of a peer for `go run . -peers DIR`: two processes that pass messages through a
 * small ring in shared memory. PEERS.md says what each line of it that speaks to the suite is
 * for; the ring is what you would replace by your own.
 *
 *     mkdir /tmp/peers && gcc -O2 -o /tmp/peers/example peers/example.c
 *     go run . -quick -peers /tmp/peers -run '/(peer-example|shmring)/pinned'
 */
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 256, MOST = 4096 };
#define LAST ((UINT64_C(1) << 56) - 1) /* the first word of the message that ends the stream */

/* One direction. A file of zeros is an empty ring, so it does not matter who makes it. */
struct ring {
    _Alignas(128) _Atomic uint64_t sent;
    _Alignas(128) _Atomic uint64_t taken;
    _Alignas(128) char slot[SLOTS][MOST];
};

static const char *work = "", *role = "", *dir = "";
static size_t size = 8;
static int64_t how_long, count;

static void die(const char *what) {
    perror(what); /* what is said here stands in the report */
    exit(1);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static struct ring *join(const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct ring)) < 0) die(path);
    void *mem = mmap(NULL, sizeof(struct ring), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (mem == MAP_FAILED) die(path);
    close(fd);
    return mem;
}

static void put(struct ring *r, const char *m) {
    uint64_t at = atomic_load_explicit(&r->sent, memory_order_relaxed);
    for (unsigned n = 1; at - atomic_load_explicit(&r->taken, memory_order_acquire) == SLOTS; n++)
        if (n % 4096 == 0) sched_yield();
    memcpy(r->slot[at % SLOTS], m, size);
    atomic_store_explicit(&r->sent, at + 1, memory_order_release);
}

/* Every byte is copied out: a figure is of bytes that were read. */
static void take(struct ring *r, char *m) {
    uint64_t at = atomic_load_explicit(&r->taken, memory_order_relaxed);
    for (unsigned n = 1; atomic_load_explicit(&r->sent, memory_order_acquire) == at; n++)
        if (n % 4096 == 0) sched_yield();
    memcpy(m, r->slot[at % SLOTS], size);
    __asm__ volatile("" ::"r"(m) : "memory"); /* the compiler must not leave that out */
    atomic_store_explicit(&r->taken, at + 1, memory_order_release);
}

static uint64_t first(const char *m) {
    uint64_t w;
    memcpy(&w, m, 8);
    return w;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "describe") == 0) {
        printf("{\"about\":\"the example of PEERS.md\",\"works\":[\"rtt\",\"stream\"],\"min\":8,\"max\":%d}\n", MOST);
        return 0;
    }
    for (int i = 1; i < argc; i++) { /* keys that it does not know are none of its business */
        if (strncmp(argv[i], "work=", 5) == 0) work = argv[i] + 5;
        if (strncmp(argv[i], "role=", 5) == 0) role = argv[i] + 5;
        if (strncmp(argv[i], "dir=", 4) == 0) dir = argv[i] + 4;
        if (strncmp(argv[i], "size=", 5) == 0) size = strtoul(argv[i] + 5, NULL, 10);
        if (strncmp(argv[i], "for=", 4) == 0) how_long = strtoll(argv[i] + 4, NULL, 10);
        if (strncmp(argv[i], "count=", 6) == 0) count = strtoll(argv[i] + 6, NULL, 10);
    }
    static char m[MOST], back[MOST];
    memset(m, 1, sizeof m);
    struct ring *there = join("there"), *again = join("back");

    puts("ready");
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin)) return 1; /* nobody said go */

    uint64_t messages = 0, begin_messages = 0;
    int64_t begin = now(), start = begin, end = begin; /* the first fifth warms up and is not counted */
    if (strcmp(role, "send") == 0) {
        for (; count ? messages < (uint64_t)count : messages % 64 || now() - begin < how_long; messages++) {
            memcpy(m, &messages, 8);
            put(there, m);
        }
        uint64_t last = LAST;
        memcpy(m, &last, 8);
        put(there, m);
    } else if (strcmp(role, "recv") == 0) {
        for (int warm = 1;; messages++) {
            take(there, m);
            if (first(m) == LAST) break;
            if (first(m) != messages) return fprintf(stderr, "message %ju arrived, want %ju\n", (uintmax_t)first(m), (uintmax_t)messages), 1;
            if (warm && messages % 64 == 0 && (count || now() - begin > how_long / 5)) warm = 0, start = now(), begin_messages = messages + 1;
        }
        end = now();
    } else if (strcmp(role, "ping") == 0) {
        for (int warm = 1; count ? messages < (uint64_t)count : messages % 64 || now() - begin < how_long; messages++) {
            memcpy(m, &messages, 8);
            put(there, m);
            take(again, back);
            if (first(back) != messages) return fprintf(stderr, "trip %ju came back as %ju\n", (uintmax_t)messages, (uintmax_t)first(back)), 1;
            if (warm && messages % 64 == 0 && (count || now() - begin > how_long / 5)) warm = 0, start = now(), begin_messages = messages + 1;
        }
        end = now();
        uint64_t last = LAST;
        memcpy(m, &last, 8);
        put(there, m);
    } else if (strcmp(role, "echo") == 0) {
        for (;; messages++) {
            take(there, m);
            if (first(m) == LAST) break;
            put(again, m);
        }
    } else
        return fprintf(stderr, "no role %s\n", role), 1;

    printf("[{\"messages\":%ju,\"window_messages\":%ju,\"window_ns\":%jd}]\n", (uintmax_t)messages,
           (uintmax_t)(messages - begin_messages), (intmax_t)(end - start));
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) { /* until the suite closes it: the other may not be done */
    }
    return 0;
}
