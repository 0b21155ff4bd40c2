//go:build !linux

package shmring

import "runtime"

// usable is how many processors this process can keep busy.
func usable() int { return min(runtime.GOMAXPROCS(0), runtime.NumCPU()) }
