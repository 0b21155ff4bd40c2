// Command waitlab shows across real processes what waiting promises: that no wake-up is
// lost, what a killed waker costs, that nobody makes system calls without need, that
// idleness is cheap, that contexts and Close end a wait at once, that nobody is starved.
//
//	go run ./fuzz/waitlab -mode cycles        one mode; -help lists them
//	go run ./fuzz/waitlab -mode all           all of them, in full: ten minutes
//	go run ./fuzz/waitlab -mode all -short    all of them, in one minute
//	go run ./fuzz/mutants -lab waitlab        shows that the modes can fail
//
// The two sides of a ring are processes of their own: this program again, as a child
// with a role (see roles). The lab and a child talk through the child's standard input
// and output, a line at a time; a child whose lab is gone reads the end of its input,
// and ends. Modes that depend on how one sleeps go through all ways (see ways); those
// that this version or this system does not have are skipped, with the reason.
//
// Times are judged without what the kernel says somebody waited for a processor
// meanwhile: these limits are promises of this library, not of a busy machine.
//
// A failure prints the command that repeats it. Exit status: 0 if all is well, 1 if a
// check failed, 2 for wrong usage.
package main
