//go:build !race

package ring

import "sync/atomic"

// flag is written by one goroutine with plain stores, which cost nothing, and read
// by another after a stop of the world; see gate.
type flag struct{ v uint32 }

func (f *flag) set(on bool) {
	if on {
		f.v = 1
	} else {
		f.v = 0
	}
}

func (f *flag) get() bool { return atomic.LoadUint32(&f.v) != 0 }

// tally is counted up by one goroutine with plain instructions, and read by any: a word is
// never half written on processors of 64 bits.
type tally struct{ messages, bytes uint64 }

func (t *tally) add(n int) {
	t.messages++
	t.bytes += uint64(n)
}

func (t *tally) addAll(messages, bytes uint64) {
	t.messages += messages
	t.bytes += bytes
}

func (t *tally) get() sum { return sum{atomic.LoadUint64(&t.messages), atomic.LoadUint64(&t.bytes)} }

// set says where the next record of a View's window is, and before what it has to begin. Close reads
// it of another goroutine, as it does the flag.
func (w *window) set(off, limit uint64) { w.off, w.limit = off, limit }
