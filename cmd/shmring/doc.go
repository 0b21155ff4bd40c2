/*
Shmring looks into shared memory rings and shows what they can do.

	shmring demo [-quick] [-json] [-no-pin] [-dir DIR]

Demo starts producers and consumers as processes, verifies every message they move,
measures throughput and round trips, and ends with OK.

shmring help lists the commands, shmring help COMMAND the flags of one. Exit codes are
those of producer and consumer.
*/
package main
