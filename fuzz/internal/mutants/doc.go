// Package mutants breaks the library on purpose and shows which mode of a laboratory
// notices. A mutant is built with the edits laid over the source tree (go build
// -overlay), which stays as it is.
package mutants
