//go:build race

package shmnet

import "sync/atomic"

// through tells the race detector, which does not see mapped memory, that what was done before a
// write was done before what comes after a read. Package net has the like.
var through atomic.Uint64

func wrote() { through.Add(1) }
func read()  { through.Load() }
