package clock

import (
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic is CLOCK_MONOTONIC in nanoseconds.
func Monotonic() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail for this clock
	return t.Nano()
}

// CPU is the processor time that this process has used so far.
func CPU() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // cannot fail for this process
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Shared is Monotonic without a system call, after the first: to half a microsecond or so, and never
// later by more or less than it was at the first.
func Shared() int64 { return epoch() + int64(time.Since(begin)) }

// begin is some time of this process, by the same clock.
var begin = time.Now()

// epoch is the time of begin by Monotonic: the closest of some looks.
var epoch = sync.OnceValue(func() (at int64) {
	closest := time.Duration(math.MaxInt64)
	for range 8 {
		before := time.Since(begin)
		now := Monotonic()
		after := time.Since(begin)
		if after-before < closest {
			closest, at = after-before, now-int64(before+(after-before)/2)
		}
	}
	return at
})
