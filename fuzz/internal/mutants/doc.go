// Package mutants breaks the library on purpose and shows which mode of a laboratory, or
// which test, notices.
//
// A mutant is a file fuzz/mutants/NAME.patch: a head, an empty line, and what git diff
// prints. The head says in one line what is wrong then, and has one line for each exam
// that must notice:
//
//	Breaks: the waker clears the bits and wakes nobody
//	Caught-by: waitlab cycles -short
//	Caught-by: test ./ring TestNotify
//
// An exam is a laboratory, its mode and flags with which it suffices; or "test", a
// package and a test of it, or a subtest (TestNotify/sleep). Patches are applied to a
// copy of the source tree: the checkout stays as it is.
//
// When the source moves, "go run ./fuzz/mutants -port" lists what no longer applies, and
// with -w rewrites what git can merge.
package mutants
