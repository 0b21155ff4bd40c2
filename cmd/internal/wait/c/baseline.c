/* The least that waking another process can cost here: a word and a time stamp in
   shared memory, and a futex. After each silence one process stamps, changes the word
   and wakes the other, which notes how much later it saw that.

   baseline CPU-OF-SENDER CPU-OF-RECEIVER SILENCE-NS MESSAGES LIMIT-S
   prints one number of nanoseconds per message. A CPU of -1 is any. */
#define _GNU_SOURCE
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct shared {
	_Alignas(64) _Atomic uint32_t word; /* counts messages */
	_Atomic int64_t stamp;
};

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Neither process outlives the one that started it, or the limit. */
static void begin(int cpu, unsigned limit) {
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(limit);
	if (cpu >= 0) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof set, &set)) {
			perror("processor");
			exit(1);
		}
	}
}

static void send_all(struct shared *s, int64_t silence, uint32_t messages) {
	struct timespec pause = {silence / 1000000000, silence % 1000000000};
	for (uint32_t i = 1; i <= messages; i++) {
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		s->stamp = now();
		s->word = i;
		syscall(SYS_futex, &s->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	}
}

int main(int argc, char **argv) {
	if (argc != 6)
		return 2;
	int64_t silence = atoll(argv[3]);
	uint32_t messages = atoi(argv[4]), seen = 0, noted = 0;
	unsigned limit = atoi(argv[5]);
	struct shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int64_t *times = calloc(messages, sizeof *times);
	if (s == MAP_FAILED || !times) {
		perror("memory");
		return 1;
	}
	pid_t sender = fork();
	if (sender < 0) {
		perror("fork");
		return 1;
	}
	if (!sender) {
		begin(atoi(argv[1]), limit);
		send_all(s, silence, messages);
		_exit(0);
	}
	begin(atoi(argv[2]), limit);
	while (seen < messages) {
		while (s->word == seen)
			syscall(SYS_futex, &s->word, FUTEX_WAIT, seen, NULL, NULL, 0);
		int64_t took = now() - s->stamp;
		uint32_t word = s->word;
		if (word == seen + 1 && seen > 0) /* in time, and not the first, which faults pages in */
			times[noted++] = took;
		seen = word;
	}
	int status;
	if (waitpid(sender, &status, 0) < 0 || status)
		return 1;
	for (uint32_t i = 0; i < noted; i++)
		printf("%lld\n", (long long)times[i]);
	return 0;
}
