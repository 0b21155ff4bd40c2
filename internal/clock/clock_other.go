//go:build !linux

package clock

import "time"

var begin = time.Now()

// Monotonic is the time since this process began: elsewhere no other process has a ring
// with it.
func Monotonic() int64 { return int64(time.Since(begin)) }

// Shared is Monotonic.
func Shared() int64 { return Monotonic() }

// CPU is not known here.
func CPU() time.Duration { return 0 }

// SleepUntil sleeps until a time of Monotonic.
func SleepUntil(at int64) { time.Sleep(time.Duration(at - Monotonic())) }
