// Command evilpeer is a laboratory for peers that lie. An attacker, in another process than its victim,
// does to the victim's rings what whoever may write them can do (and in some modes: who may only
// read them, or who only shares the directory), at full speed or now and then, while the victim
// makes every call of the API on them.
//
//	go run ./fuzz/evilpeer -mode all -short     in the gate: all modes in less than a minute
//	go run ./fuzz/evilpeer -mode all            10 000 truncations, 1 000 rings with holes, 513 configurations of 2 s
//	go run ./fuzz/evilpeer -mode hot -for 1m -ring /dev/shm/orders.shmring
//
// The last one attacks a ring of your own, on which your own programs are the victims. Nothing of
// what is in it can be trusted afterwards.
//
// A configuration is a kind of ring, a doorbell, a kind of locks, a style of calls (copying, in
// place, batches, a Poller, all mixed), whether they wait or poll, whether the ring is sealed, and
// the options of its handles. The victims are producers, a consumer and observers, or, of a broadcast
// ring, a producer and observers. In the first two modes each ring is attacked once and its handles do
// not trust it (Options.Untrusted).
//
// The verdict: no signal and no panic ends the victim; every call comes back, at its deadline if it
// has one; each error is one that this package names, and is counted by the field that it is
// about; what is handed out lies within what a message may be; every Close returns; a healthy ring of
// the same process loses nothing; descriptors, mappings, threads, address space and heap are what they
// were; what seals forbid is refused by the kernel; no ring has two sets of semaphores; and
// nothing is left, neither locks nor files nor semaphores.
//
//	once_linux.go        the attacker of the first two modes
//	attacker_linux.go    that of all others: a process, which finds one ring after the other
//	target_linux.go      a ring in its eyes
//	words_linux.go       strikes at words that every ring has
//	records_linux.go     strikes at records: the only file that knows how those lie
//	lines_linux.go       those that lie in line
//	broadcast_linux.go   and what is beside them in a broadcast ring
//	files_linux.go       strikes at files, names and locks
//	semaphores_linux.go  strikes at sets of semaphores
//	victim_linux.go      the victim: what it is, and what errors are called
//	round_linux.go       the life of a ring that is attacked once
//	life_linux.go        the life of a ring that is attacked all the time
//	calls_linux.go       the calls of the API
package main
