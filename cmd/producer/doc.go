/*
Producer sends records from standard input or files into a shared memory ring.

	producer -ring NAME [flags] [FILE ...]

A record is a line, a length-prefixed blob (-frame len32) or a chunk of fixed size
(-frame chunk=BYTES); or producer makes up messages that consumer -verify can check
(-generate COUNT). A line that is longer than the ring's messages is sent in pieces, cut,
skipped or an error (-long). Many producers may share a ring of -kind mpsc. While the ring is
full it waits, fails or drops (-full). A producer that fails leaves its stream without an
end. producer -help lists the rest, and producer completion SHELL prints what completes
its command line.

SIGTERM lets a pipe or socket that it reads end first, for -drain at most.

Records go to the ring only, and everything there is to say to standard error: a
summary, or with -json one object with the run's totals.

Exit codes: 0 all well, also when a signal asked for the end; 1 runtime error; 2 usage error;
4 corrupt ring; 5 timeout; 6 ring full (-full fail); 7 another producer has the ring;
130 aborted by a second signal.
*/
package main
