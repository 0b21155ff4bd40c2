// Package labs is what the programs of the laboratories have in common: flags, the
// choice of experiments, that a child is the same program, and where rings are made.
package labs
