// Package models holds models of how the two sides of a ring wait for each other, in
// Promela, and a test that lets SPIN walk through every interleaving of them. It holds
// tests only: nothing here is for import.
//
//	model       what it is about                          the code
//	----------  ----------------------------------------  ----------------------------------
//	bell.pml    the bell word: announce, look again,      ring/notify.go; futex; the listener
//	            sleep or park; publish, notify            of parked goroutines
//	broadcast   a producer that overwrites, waypoints,    ring/broadcast.go, ring/anchor.go,
//	  .pml      takeover, observers that were overtaken   ring/waypoint.go
//	cancel.pml  how a blocked call ends: a context, a     ring/wait.go, ring/gate.go,
//	            Close, with and without futex_waitv       futex/futex_linux.go
//	dense.pml   records in line: publish, takeover,       ring/area.go, ring/spsc.go,
//	            redelivery, what an observer may trust    ring/read_spsc.go
//	door.pml    the doorbell made of SysV semaphores      doorbell
//	fates.pml   how streams end: storing a fate, finding  ring/fate.go, ring/told.go,
//	            it, telling it, under kills               ring/watch.go
//	fence.pml   who passes a barrier for whom, and how    ring/notify.go, ring/mpsc.go,
//	            that ends                                 ring/spsc.go
//	poll.pml    one goroutine that waits for many rings   the poller
//	skip.pml    force-skip against an owner that commits  ring/mpsc.go, ring/repair.go
//	            by a plain store
//
// Each model has switches. Some choose a case (CAP, KILL, SPACE). The others are
// mistakes, named after what is done wrong: NO_RECHECK, KEY_AFTER_RECHECK. The table in
// models_test.go says of each combination whether it holds or is broken, and both are
// checked: a model that cannot be broken shows nothing. Where a mistake does no harm,
// the table says holds, and why.
//
// # What is shown
//
// That everything published is taken and nobody sleeps for ever; and that a sleep that
// is ended by its cap finds something only after a waker was killed. Of fates: each is told
// in order, behind the messages of its stream, and again only where the consumer that was
// told was killed. Of records in line: each message comes whole, in order, and again only below
// the redelivery mark. The search is exhaustive: every order of every step of a few processes
// and messages.
//
// # What is left out
//
//   - One step of a model is one atomic operation of the code, or one thing the kernel
//     does under its own lock. Steps are sequentially consistent, as sync/atomic is; the
//     one thing that is not so on amd64, a plain store that is still in the store buffer
//     while later loads are done, is modelled for the publish (PLAIN_PUBLISH), with
//     the barrier that a sleeper has the system do on the publisher's processor (FENCE).
//   - The ring is a number: messages, or free slots. Claims, laps and records are the
//     business of FuzzModel and of the kill laboratory.
//   - The count in the bell word does not wrap. In the code it has 28 bits, and a sleeper
//     that is delayed over exactly 2^28 notifications is left to the cap.
//   - Time: a cap or a slice may end at any moment, once, and again whenever nothing else
//     can happen. Spinning before sleeping is only more looking, and is left out.
//   - Whoever is killed is killed between steps. Its lock, its successor and what becomes
//     of its claim are elsewhere.
//   - That the gate's busy flag and its closed word see each other (ring/gate.go) is taken for
//     granted.
//
// # How to read a counterexample
//
// The test prints one when a model breaks that should hold. To see that of a mistake:
//
//	cp fuzz/models/bell.pml /tmp && cd /tmp
//	spin -a -DNO_RECHECK bell.pml && gcc -w -DBFS -o pan pan.c && ./pan
//	spin -t -p -g -DNO_RECHECK bell.pml
//
// The first line finds a shortest one. The second prints it, one step a line: which
// process, which line of the model, and the shared words that changed. "Invalid end state" means
// that somebody is asleep and nothing is left to happen: the last lines say who is where.
// In the models, B1 and B2 are the labels of package ring, and killpoint.X stands where
// the code calls killpoint.At(killpoint.X).
package models
