//go:build race

package ring

import "sync/atomic"

// flag is an ordinary atomic where the race detector watches: it knows no stop of
// the world, and the protocol of gate is right with any stronger store.
type flag struct{ v atomic.Bool }

func (f *flag) set(on bool) { f.v.Store(on) }

func (f *flag) get() bool { return f.v.Load() }
