//go:build race

package ring

import "sync/atomic"

// flag is an ordinary atomic where the race detector watches: it knows no stop of
// the world, and the protocol of gate is right with any stronger store.
type flag struct{ v atomic.Bool }

func (f *flag) set(on bool) { f.v.Store(on) }

func (f *flag) get() bool { return f.v.Load() }

// tally likewise.
type tally struct{ messages, bytes atomic.Uint64 }

func (t *tally) add(n int) {
	t.messages.Add(1)
	t.bytes.Add(uint64(n))
}

func (t *tally) addAll(messages, bytes uint64) {
	t.messages.Add(messages)
	t.bytes.Add(bytes)
}

func (t *tally) get() sum { return sum{t.messages.Load(), t.bytes.Load()} }

func (w *window) set(off, limit uint64) {
	atomic.StoreUint64(&w.off, off)
	atomic.StoreUint64(&w.limit, limit)
}
