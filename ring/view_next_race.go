//go:build race

package ring

import "sync/atomic"

// Next is the same where the race detector watches.
func (v *View) Next() bool {
	off := v.off
	if off >= atomic.LoadUint64(&v.limit) {
		return false
	}
	n := v.word(off) - v.head
	if n > v.most {
		return false
	}
	atomic.StoreUint64(&v.at, off)
	v.n = n
	atomic.StoreUint64(&v.off, off+(n+15)&^7)
	atomic.AddUint64(&v.taken, 1<<32+n)
	return true
}
