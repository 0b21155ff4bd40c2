// Command observelab is a laboratory for observers (shmring.OpenObserver) beside a stream that does not
// wait for them. A producer (on an MPSC ring three) and a consumer, which are killed and restarted,
// move messages as fast as they can, singly and in batches, while observers follow: one that is quick,
// one that is slow, one that wants one kind in three, one that is stopped and continued (SIGSTOP,
// SIGCONT), and one that is killed and goes on behind the last message that it has noted.
//
//	go run ./fuzz/observelab -mode all -short     in the gate
//	go run ./fuzz/observelab -mode all            10^8 messages on each kind of ring
//
// The verdict: each message that an observer returns has the bytes that were sent and the next number
// that is not missed; its number is the one that the consumer, who counts for itself, has given it;
// and what an observer got and what it has missed is together all that was sent. Nobody feels an
// observer: that producers and the consumer come to an end is part of it.
package main
