//go:build !linux

package host

import "runtime"

// Quota is how many processors the control group of this process allows, at most.
func Quota() (cpus float64, limited bool) { return 0, false }

// Kernel is the release of the system.
func Kernel() string { return runtime.GOOS }

// Processor is what the maker calls it; empty: not known.
func Processor() string { return "" }

// Virtual reports whether this is a virtual machine, as far as the processor says so.
func Virtual() bool { return false }

// Load is how many threads ran or wanted to, on average over the last minute; −1: not known.
func Load() float64 { return -1 }

// Spent is the time that processors have spent. Here the system does not tell.
func Spent() Times { return Times{} }
