//go:build !linux

package spin

// CPU is not known here.
func CPU() int { return -1 }

// MayMove tells whether the system may run the caller on another processor.
func MayMove() bool { return false }
