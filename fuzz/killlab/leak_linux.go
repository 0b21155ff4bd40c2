package main

import "github.com/shmring/shmring/fuzz/internal/machine"

// grown compares with an earlier footprint and counts what has leaked.
func (r *result) grown(who string, before, after machine.Footprint) {
	for _, leak := range after.Grown(before) {
		r.fault(&r.Leaked, "%s: %s", who, leak)
	}
}
