//go:build !race

package ring

// Next goes on to the next message by the short way. It is short enough to be inlined. When it
// reports false, Wait is to be asked.
//
// Close looks at what it writes, in plain stores as those of flag.
func (v *View) Next() bool {
	off := v.off
	if off >= v.limit {
		return false
	}
	n := v.word(off) - v.head // D2; once: a peer may rewrite it
	if n > v.most {
		return false
	}
	v.at, v.n, v.off = off, n, off+(n+15)&^7
	v.taken += 1<<32 + n
	return true
}
