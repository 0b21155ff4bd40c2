/*
Shmring looks into shared memory rings and shows what they can do.

	shmring demo [-quick] [-json] [-no-pin] [-dir DIR]
	shmring bench [-size LIST] [-kind spsc|mpsc] [-producers N] [-pin CPU,CPU] [-for DURATION] [-json]
	shmring wait [-quick] [-json] [-no-pin] [-dir DIR] [-for DURATION]

	shmring ls [DIR]
	shmring inspect [-watch] NAME

Ls and inspect look at rings from outside, and say what is the matter with them.

Demo starts producers and consumers as processes, verifies every message they move,
measures throughput and round trips, and ends with OK.

Bench measures how fast messages go on this machine between processes, over a ring with
options of yours and over a Unix socket.

Wait measures between two processes what each way of waiting costs on this machine and
what it gives: each doorbell that works with each wait policy, round trips while messages
flow, the first message after a silence beside a bare futex in C, the processor time of
a consumer that has nothing to do, and that of a message now and then.

shmring help lists the commands, shmring help COMMAND the flags of one. Exit codes are
those of producer and consumer.
*/
package main
