/*
Consumer receives the records of a shared memory ring and writes them to standard
output or a file.

	consumer -ring NAME [flags]

It waits for the ring to be created, writes records as lines, length-prefixed
(-frame len32) or one after the other (-frame chunk=BYTES), and ends with the stream.
With -verify it checks the messages of producer -generate instead. consumer -help
lists the rest.

A record is released to the ring only after its bytes were written, so a consumer
may be killed at any time: the next one goes on, and what may have been written
already comes again, counted as redelivered. With -o FILE its lines go behind those that
are in the file; -truncate is what destroys them, and SIGHUP makes it open FILE anew.

Records go to standard output, and everything else to standard error: a summary, or
with -json one object with the run's totals.

Exit codes: 0 all well, also when a signal asked for the end; 1 runtime error; 2 usage error;
3 the producer died (-on-death exit); 4 corrupt ring, or verification failed;
5 timeout; 7 another consumer has the ring; 130 aborted by a second signal.
*/
package main
