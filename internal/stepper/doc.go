// Package stepper executes one thread of a process an instruction at a time while its
// others stand still: for the kill laboratory and for the counts of instructions. The
// kernel wants all calls for one process from the thread that seized it, so callers lock
// theirs.
package stepper
