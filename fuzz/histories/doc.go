// Command histories records what real processes do with a ring, and asks porcupine whether
// a ring that keeps its promises may have answered that: a linearizability laboratory.
//
//	go run ./fuzz/histories                     5000 histories of each kind of ring, half of them with kills
//	go run ./fuzz/histories -short              1000 of each, in some seconds
//	go run ./fuzz/histories -kind spsc -n 100000 -kills all
//	go run -tags killpoint ./fuzz/histories     kills, and pauses, at the kill points too
//	go run ./fuzz/mutants -lab histories        shows that it can fail
//
// A history is some 45 calls, seldom more than 60, of two to six processes, with a ring of 8
// or 16 slots that is made for it. SPSC: a producer and a consumer; MPSC: three producers and
// a consumer; and, where one is killed, its successor. Processes are this program again, as
// children (see labs), and serve many histories. They use the Try calls, batches too, and
// Drain; some consumers promise to deliver at most once, some give up claims by ForceSkip, and
// in one in sixteen histories of an MPSC ring producers also wait for room, by Send, until
// others have to hold back for them. What a child does it writes into a journal, a file that
// the lab maps too, with CLOCK_MONOTONIC before and after each call; so a call that a kill cut
// off has begun and not returned. SIGKILL comes from a timer of the victim's, in the midst of
// calls that follow each other without a pause: four in ten hit inside one. The lab waits for
// the death before the successor opens the ring.
//
// At the end the consumer empties the ring. So what was lost shows as an ErrEmpty that no
// order explains. Package spec has the rules.
//
// A history that nothing explains is written to a file, with as many of its steps as can be
// put in an order, and the program exits with 1. The seed repeats what the processes try,
// not how their calls fall in time: go on until it comes again, -n 100000. Exit status 2 is
// for wrong usage.
package main
