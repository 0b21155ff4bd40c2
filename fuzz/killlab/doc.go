// Command killlab kills producers and consumers of a ring, at random or at every
// single point, and checks what is left: everything that was sent arrives, whole, in
// order and once, nobody is stuck, and nothing is left behind.
//
//	go run ./fuzz/killlab -mode random        one mode; -help lists them
//	go run ./fuzz/killlab -mode all           all of them, in full: a quarter of an hour
//	go run ./fuzz/killlab -mode all -short    all of them, in a minute
//	go run ./fuzz/mutants -lab killlab        shows that each mode can fail: forty minutes
//
// The victims are real processes: this program again, as a child with a role (see
// roles). What a child's calls returned it writes into a journal, a file that the lab
// maps too and that outlives the child, so "was sent" means "Send returned nil before
// the kill". A message carries its sender's lane and life, its number in that life,
// and a checksum.
//
// Modes fates and ends have a judge of their own (fate_judge_linux.go), which knows nothing but
// journals: what producers did to their streams, and what consumers got, were told, and came
// back from.
//
// A failure prints the command that repeats it. Exit status: 0 if all is well, 1 if a
// check failed, 2 for wrong usage.
package main
