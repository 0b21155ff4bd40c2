//go:build !linux

package shmring

import "runtime"

// usableCPUs is how many processors this process can keep busy.
func usableCPUs() int { return min(runtime.GOMAXPROCS(0), runtime.NumCPU()) }
