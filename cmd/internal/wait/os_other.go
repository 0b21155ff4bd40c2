//go:build !linux

package wait

import "time"

// Elsewhere there are no rings, so nobody comes here.

func monotonic() int64 { return time.Now().UnixNano() }

func sleepUntil(at int64) { time.Sleep(time.Duration(at - monotonic())) }

func cpuTime() time.Duration { return 0 }
