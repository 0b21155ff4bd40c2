package main

import "golang.org/x/sys/unix"

// usable are the processors that this process had when it began.
var usable = func() (set unix.CPUSet) {
	_ = unix.SchedGetaffinity(0, &set)
	return set
}()

// pin keeps this thread on one of the processors, and unpin on any. Those who are woken
// together are likely to be on one, and there one would be over before the next begins.
func pin(client int) {
	n := usable.Count()
	if n == 0 {
		return
	}
	var one unix.CPUSet
	for cpu, left := 0, client%n; ; cpu++ {
		if !usable.IsSet(cpu) {
			continue
		}
		if left == 0 {
			one.Set(cpu)
			break
		}
		left--
	}
	_ = unix.SchedSetaffinity(0, &one)
}

func unpin() { _ = unix.SchedSetaffinity(0, &usable) }
