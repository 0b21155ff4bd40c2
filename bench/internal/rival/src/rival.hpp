// What every rival in C and C++ is measured with: the same works, the same messages and
// the same protocol as package work, so read that first. A rival is one source file that
// defines
//
//	template <class S> struct Link {          one direction of a queue of messages S
//	    Link(const Job&, const char* name, bool sender, bool many);
//	    void send(const S&);                  waits for room
//	    void recv(S&);                        waits for a message
//	    void send_many(const S*, size_t);     optional
//	    size_t recv_many(S*, size_t);         optional: waits for one, takes what is there
//	};
//	RIVAL(Link, largest)                      largest message in bytes
#pragma once
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <barrier>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace rival {

[[noreturn]] inline void fail(const std::string& what) {
    fprintf(stderr, "%s: %s\n", what.c_str(), strerror(errno));
    exit(1);
}

inline int64_t now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb");
#endif
}

// Calls ready until it is true. The yield is for more threads than processors.
template <class F>
inline void spin(F ready) {
    for (unsigned n = 1; !ready(); n++) {
        relax();
        if (n % 4096 == 0) sched_yield();
    }
}

struct Job {
    std::string work, role, dir;
    size_t size = 8, batch = 1;
    int producers = 1, index = 0;
    int64_t duration = 0, count = 0, pace = 0;
    bool verify = false;
    unsigned timeout = 30;
    std::vector<int> cpus;
    int shm = -1, sem = -1;

    Job(int argc, char** argv) {
        for (int i = 1; i < argc; i++) {
            std::string arg = argv[i];
            auto eq = arg.find('=');
            if (eq == std::string::npos) continue;
            std::string k = arg.substr(0, eq), v = arg.substr(eq + 1);
            auto n = [&] { return atoll(v.c_str()); };
            if (k == "work") work = v;
            else if (k == "role") role = v;
            else if (k == "dir") dir = v;
            else if (k == "size") size = n();
            else if (k == "batch") batch = n();
            else if (k == "producers") producers = n();
            else if (k == "index") index = n();
            else if (k == "for") duration = n();
            else if (k == "count") count = n();
            else if (k == "pace") pace = n();
            else if (k == "verify") verify = n();
            else if (k == "timeout") timeout = n();
            else if (k == "shm") shm = n();
            else if (k == "sem") sem = n();
            else if (k == "cpus")
                for (size_t at = 0; at < v.size(); at = v.find(',', at) == std::string::npos ? v.size() : v.find(',', at) + 1)
                    cpus.push_back(atoi(v.c_str() + at));
        }
    }
    bool trips() const { return work == "rtt" || work == "blocked"; }
    bool paced() const { return work == "oneway" || work == "wake"; }
};

// Messages. The first word is the producer's index and a sequence number, or a time.
template <size_t N>
struct Fixed {
    static constexpr size_t max = N;
    alignas(8) char bytes[N];
    size_t len() const { return N; }
    void resize(size_t) {}
};

// Copies only what it holds.
template <size_t N>
struct Sized {
    static constexpr size_t max = N;
    uint64_t n = 0;
    alignas(8) char bytes[N];
    Sized() {}
    Sized(const Sized& o) { *this = o; }
    Sized& operator=(const Sized& o) {
        n = o.n;
        memcpy(bytes, o.bytes, n);
        return *this;
    }
    size_t len() const { return n; }
    void resize(size_t to) { n = to; }
};

// As many messages as fit into 2 MiB, 8 at least, 8192 at most: what a ring of default
// size has room for.
template <class S>
constexpr size_t slots = std::bit_floor((2u << 20) / S::max < 8 ? size_t{8} : (2u << 20) / S::max > 8192 ? size_t{8192} : (2u << 20) / S::max);

constexpr uint64_t last_seq = (uint64_t{1} << 56) - 1;

template <class S>
inline uint64_t head(const S& m) {
    uint64_t h;
    memcpy(&h, m.bytes, 8);
    return h;
}
template <class S>
inline void set_head(S& m, uint64_t h) { memcpy(m.bytes, &h, 8); }

inline uint64_t pattern(uint64_t head, uint64_t k) { return (head ^ k * 0x9E3779B97F4A7C15u) * 0xBF58476D1CE4E5B9u; }

// A message was received, all of it: to the compiler its bytes look as if they were used, so
// that it cannot leave out the copy of those that nobody looks at.
template <class S>
inline void taken(const S& m) { asm volatile("" ::"r"(&m) : "memory"); }

template <class S>
void fill(S& m) {
    for (size_t at = 8; at < m.len(); at += 8) {
        uint64_t w = pattern(head(m), at / 8);
        memcpy(m.bytes + at, &w, std::min<size_t>(8, m.len() - at));
    }
}
template <class S>
void check(const S& m) {
    for (size_t at = 8; at < m.len(); at += 8) {
        uint64_t w = pattern(head(m), at / 8);
        if (memcmp(m.bytes + at, &w, std::min<size_t>(8, m.len() - at))) {
            fprintf(stderr, "message %llx of %zu bytes is damaged at byte %zu\n", (unsigned long long)head(m), m.len(), at);
            exit(2);
        }
    }
}

inline size_t mixed_size(uint64_t seq) {
    uint64_t h = pattern(seq, 1), a = (h >> 32) % 100, b = h & 0xffffffff;
    return a < 60 ? 8 + b % 41 : a < 90 ? 49 + b % 968 : 1017 + b % 3072;
}

// Values to one part in a thousand.
class Histogram {
    std::map<int64_t, int64_t> rare;
    std::vector<int64_t> common = std::vector<int64_t>(2048);

   public:
    void add(int64_t v) {
        v = std::max<int64_t>(v, 0);
        if (v < 2048) {
            common[v]++;
            return;
        }
        int shift = std::bit_width(uint64_t(v)) - 11;
        rare[((v >> shift) << shift) + (int64_t{1} << shift) / 2]++;
    }
    std::string json() const {
        std::string s;
        auto put = [&](int64_t v, int64_t n) { s += (s.empty() ? "[" : ",[") + std::to_string(v) + "," + std::to_string(n) + "]"; };
        for (size_t i = 0; i < common.size(); i++)
            if (common[i]) put(i, common[i]);
        for (auto [v, n] : rare) put(v, n);
        return "[" + s + "]";
    }
};

// What one worker found. The JSON is that of work.Result.
struct Result {
    uint64_t messages = 0, window_messages = 0, bytes = 0;
    int64_t window_ns = 0, per = 0;
    std::vector<uint64_t> shares;
    Histogram times, blocks;
};

inline int64_t cpu_ns() {
    rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000LL + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000LL;
}
inline int64_t switches() {
    rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_nvcsw + u.ru_nivcsw;
}

// Bytes that all processes of a job see, made by the receiver, by init.
template <class T, class F>
T* shared(const Job& job, const char* name, bool sender, F init) {
    constexpr size_t page = 4096;
    std::string path = job.dir + "/" + name;
    int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, page + sizeof(T)) < 0) fail(path);
    void* mem = mmap(nullptr, page + sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (mem == MAP_FAILED) fail(path);
    close(fd);
    auto* made = static_cast<std::atomic<int>*>(mem);
    T* t = reinterpret_cast<T*>(static_cast<char*>(mem) + page);
    if (!sender) {
        init(t);
        made->store(1);
    }
    while (!made->load()) usleep(100);
    return t;
}

// One object that all threads of a job see.
template <class T, class F>
T* common(const char* name, F make) {
    static std::mutex m;
    static std::map<std::string, T*> all;
    std::lock_guard<std::mutex> hold(m);
    T*& t = all[name];
    if (!t) t = make();
    return t;
}

template <template <class> class L, class S>
class Worker {
    const Job& job;
    Result& r;
    std::unique_ptr<L<S>> out, in;
    static constexpr bool batches = requires(L<S> l, S* s) { l.send_many(s, 1); l.recv_many(s, 1); };
    const int64_t stride = S::max <= 4096 ? 64 : 1; // messages between two looks at the clock
    const bool mixed, batched, verify;              // of the job: words are not compared for each message

   public:
    Worker(const Job& j, const std::string& role, Result& result)
        : job(j), r(result), mixed(j.work == "mixed"), batched(j.work == "batch"), verify(j.verify) {
        bool many = job.producers > 1 || job.work == "mpsc";
        if (role == "send" || role == "ping") out = std::make_unique<L<S>>(job, "there", true, many);
        if (role == "ping") in = std::make_unique<L<S>>(job, "back", false, many);
        if (role == "recv" || role == "echo") in = std::make_unique<L<S>>(job, "there", false, many);
        if (role == "echo") out = std::make_unique<L<S>>(job, "back", true, many);
    }

    void run(const std::string& role, int index) {
        if (role == "ping") ping();
        else if (role == "echo") echo();
        else if (role == "send" && job.paced()) send_paced();
        else if (role == "recv" && job.paced()) recv_paced();
        else if (role == "send") send(index);
        else if (role == "recv") recv();
        else fail("role " + role);
    }

   private:
    static std::unique_ptr<S[]> room(size_t n) {
        std::unique_ptr<S[]> m(new S[n]);
        for (size_t i = 0; i < n; i++) {
            memset(m[i].bytes, 1, sizeof m[i].bytes);
            m[i].resize(S::max);
        }
        return m;
    }

    void stamp(S& m, uint64_t h) {
        if (mixed) m.resize(mixed_size(h));
        set_head(m, h);
        if (verify) fill(m);
    }

    void end(S& m, uint64_t id) {
        m.resize(8);
        set_head(m, id << 56 | last_seq);
        if (verify) fill(m);
        out->send(m);
    }

    void send(uint64_t id) {
        size_t n = job.batch;
        auto m = room(n);
        uint64_t seq = 0;
        for (int64_t until = now() + job.duration; job.count ? seq < uint64_t(job.count) : now() < until;) {
            for (int64_t k = 0; k < stride; k += n) {
                for (size_t i = 0; i < n; i++) stamp(m[i], id << 56 | seq++);
                if constexpr (batches)
                    if (n > 1) {
                        out->send_many(m.get(), n);
                        continue;
                    }
                for (size_t i = 0; i < n; i++) out->send(m[i]);
            }
        }
        r.messages = seq;
        end(m[0], id);
    }

    void recv() {
        constexpr size_t most = S::max <= 4096 ? 64 : 1;
        auto m = room(most);
        std::vector<uint64_t> want(job.producers), at_begin(job.producers);
        int64_t first = 0, begin = 0, finish = 0;
        uint64_t bytes_at_begin = 0;
        int left = job.producers;
        int64_t got = 0, last = 0; // messages since the last time was taken, and when that was
        // The next of the only sender, whose messages all have one size: nearly all take the short
        // way. want[0] is brought up to date where somebody looks at it.
        const bool plain = !mixed && !verify && job.producers == 1;
        uint64_t next = 0;
        for (int64_t k = 1; left; k++) {
            size_t n = 1;
            if constexpr (batches) {
                if (batched) n = in->recv_many(m.get(), most);
                else in->recv(m[0]);
            } else
                in->recv(m[0]);
            for (size_t i = 0; i < n; i++) {
                taken(m[i]);
                uint64_t h = head(m[i]), id = h >> 56, seq = h & last_seq;
                if (plain && h == next) {
                    next++, got++;
                    continue;
                }
                if (plain) want[0] = next;
                if (id >= want.size()) bad("producer", id, want.size());
                if (verify) check(m[i]);
                if (seq == last_seq) {
                    left--;
                    if (!finish) {
                        finish = now();
                        for (size_t p = 0; p < want.size(); p++) r.shares.push_back(want[p] - at_begin[p]);
                        r.window_ns = finish - begin;
                        r.bytes -= bytes_at_begin;
                    }
                    continue;
                }
                if (seq != want[id]) bad("message", seq, want[id]);
                if (mixed && m[i].len() != mixed_size(h)) bad("length", m[i].len(), mixed_size(h));
                want[id]++;
                got++;
                if (!finish) r.bytes += m[i].len();
            }
            if (begin && got >= stride) {
                int64_t t = now();
                r.times.add((t - last) * stride / got);
                last = t, got = 0;
            }
            if (!begin && (k % stride == 0 || batched || !first)) {
                int64_t t = now();
                if (!first) first = t;
                if (job.count || t - first > job.duration / 5) {
                    begin = last = t, got = 0;
                    if (plain) want[0] = next;
                    at_begin = want;
                    bytes_at_begin = r.bytes;
                }
            }
        }
        r.per = stride;
        for (auto n : want) r.messages += n;
        for (auto n : r.shares) r.window_messages += n;
        if (plain) r.bytes = r.window_messages * S::max;
    }

    void send_paced() {
        auto m = room(1);
        int64_t begin = now(), next = begin;
        for (; job.count ? r.messages < uint64_t(job.count) : next < begin + job.duration; r.messages++) {
            next += job.pace;
            if (job.work == "wake") {
                timespec t{job.pace / 1000000000, job.pace % 1000000000};
                clock_nanosleep(CLOCK_MONOTONIC, 0, &t, nullptr);
                next = now();
            } else
                while (now() < next) relax();
            stamp(m[0], now());
            out->send(m[0]);
        }
        end(m[0], 0);
    }

    void recv_paced() {
        auto m = room(1);
        for (int64_t first = 0;;) {
            in->recv(m[0]);
            int64_t t = now();
            uint64_t h = head(m[0]);
            if (verify) check(m[0]);
            if ((h & last_seq) == last_seq) return;
            if (!first) first = t;
            r.messages++;
            if (job.count || t - first > job.duration / 5) r.times.add(t - int64_t(h));
        }
    }

    // As package work does it: see there.
    static constexpr int block = 32;

    void trip(S* m) {
        stamp(m[0], r.messages);
        out->send(m[0]);
        in->recv(m[1]);
        taken(m[1]);
        if (head(m[1]) != r.messages) bad("trip", head(m[1]), r.messages);
        if (verify) check(m[1]);
        r.messages++;
    }

    void ping() {
        auto m = room(2);
        trip(m.get()); // it may have to wait for a connection
        int64_t begin = now(), t = begin;
        auto warm = [&] { return job.count || t - begin > job.duration / 5; };
        while (job.count ? r.messages < uint64_t(job.count) : t - begin <= job.duration) {
            int64_t last = now();
            for (int i = 0; i < block; i++, last = t) {
                trip(m.get());
                t = now();
                if (warm()) r.times.add(t - last);
            }
            for (int i = 0; i < block; i++) trip(m.get());
            t = now();
            if (warm()) r.blocks.add(t - last);
        }
        end(m[0], 0);
    }

    void echo() {
        auto m = room(1);
        for (;; r.messages++) {
            in->recv(m[0]);
            taken(m[0]);
            if ((head(m[0]) & last_seq) == last_seq) return;
            if (verify) check(m[0]);
            out->send(m[0]);
        }
    }

    [[noreturn]] static void bad(const char* what, uint64_t got, uint64_t want) {
        fprintf(stderr, "%s %llu arrived, want %llu\n", what, (unsigned long long)got, (unsigned long long)want);
        exit(2);
    }
};

inline void pin(int cpu) {
    if (cpu < 0) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0) fail("processor " + std::to_string(cpu));
}

template <template <class> class L, class S>
void run(const Job& job) {
    std::vector<std::string> roles{job.role};
    if (job.role == "all") {
        roles = {job.trips() ? "echo" : "recv"};
        for (int i = 0; i < job.producers; i++) roles.push_back(job.trips() ? "ping" : "send");
    }
    std::vector<Result> results(roles.size());
    std::barrier<> set(roles.size() + 1), go(roles.size() + 1);
    std::vector<std::thread> threads;
    std::vector<std::unique_ptr<Worker<L, S>>> workers(roles.size());
    for (size_t i = 0; i < roles.size(); i++)
        threads.emplace_back([&, i] {
            pin(job.cpus.empty() ? -1 : job.cpus[i % job.cpus.size()]);
            workers[i] = std::make_unique<Worker<L, S>>(job, roles[i], results[i]);
            set.arrive_and_wait();
            go.arrive_and_wait();
            workers[i]->run(roles[i], job.role == "all" ? int(i) - 1 : job.index);
        });
    set.arrive_and_wait();
    puts("ready");
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin)) fail("nobody said go");
    int64_t cpu = cpu_ns(), sw = switches();
    go.arrive_and_wait();
    for (auto& t : threads) t.join();
    cpu = cpu_ns() - cpu;
    sw = switches() - sw;
    printf("[");
    for (size_t i = 0; i < roles.size(); i++) {
        Result& r = results[i];
        std::string shares;
        for (auto n : r.shares) shares += (shares.empty() ? "" : ",") + std::to_string(n);
        printf("%s{\"role\":\"%s\",\"messages\":%llu,\"window_messages\":%llu,\"window_ns\":%lld,\"window_bytes\":%llu,"
               "\"shares\":[%s],\"times\":%s,\"block_times\":%s,\"block\":%d,\"per\":%lld,\"cpu_ns\":%lld,\"switches\":%lld}",
               i ? "," : "", roles[i].c_str(), (unsigned long long)r.messages, (unsigned long long)r.window_messages,
               (long long)r.window_ns, (unsigned long long)r.bytes, shares.c_str(), r.times.json().c_str(),
               r.blocks.json().c_str(), 32, (long long)r.per,
               (long long)(i ? 0 : cpu), (long long)(i ? 0 : sw));
    }
    puts("]");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) { // libraries may still have to send what we gave them
    }
}

template <template <class> class L, size_t Largest, size_t N, size_t... More>
void by_size(const Job& job) {
    if (job.size == N) {
        if constexpr (N <= Largest) return run<L, Fixed<N>>(job);
    } else if constexpr (sizeof...(More))
        return by_size<L, Largest, More...>(job);
    fprintf(stderr, "no messages of %zu bytes\n", job.size);
    exit(1);
}

template <template <class> class L, size_t Largest>
int main(int argc, char** argv) {
    Job job(argc, argv);
    alarm(job.timeout); // ends us, whatever we wait for
    if (job.work == "mixed") {
        if constexpr (Largest >= 4088) run<L, Sized<4088>>(job);
    } else
#ifdef FEW_SIZES // compiles in less time, for tests
        by_size<L, Largest, 32, 1016>(job);
#else
        by_size<L, Largest, 8, 32, 48, 64, 248, 1016, 4088, 4096, 65528, 65536, 1048576>(job);
#endif
    _exit(0); // threads of libraries are none of our business
}

}  // namespace rival

#define RIVAL(Link, Largest) \
    int main(int argc, char** argv) { return rival::main<Link, Largest>(argc, argv); }
