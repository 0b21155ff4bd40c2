package ring

import (
	"sync/atomic"
	"unsafe"

	"github.com/shmring/shmring/layout"
)

// window is a stretch of memory with messages of a View. On an SPSC ring it goes on behind the
// message that Wait has handed out, as far as the short way does, within the lap: a record in it
// that is like the last needs no more than to be handed out. Offsets count from base.
type window struct {
	base  unsafe.Pointer // 8 bytes before that message
	at    uint64         // of the last message, less 8
	n     uint64         // its length
	off   uint64         // of the next record
	limit uint64         // before it a record has to begin that ends in the window
	head  uint64         // the word of one that is like the last, but for the length of its message
	most  uint64         // the longest such message
	taken uint64         // what Next has handed out, and is not counted: messages << 32 + bytes
}

// word is the word at an offset, atomic.
func (w *window) word(off uint64) uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Add(w.base, off)))
}

// Bytes is the message that Next or Wait went on to, in the ring's own memory. See [Message.Bytes]
// for peers that break the rules. Who has set its length has compared it.
func (v *View) Bytes() []byte {
	return (*[1 << 30]byte)(unsafe.Add(v.base, v.at+layout.RecordHeader))[:v.n:v.n]
}

// hold makes data the current message, whose record has the next one at off. The window ends there.
func (v *View) hold(data []byte, off uint64) {
	v.base, v.at, v.n = unsafe.Add(unsafe.Pointer(unsafe.SliceData(data)), -layout.RecordHeader), 0, uint64(len(data))
	v.set(off, 0)
}

// openWindow lets Next go on behind the current message, as far as records are like it, not much
// longer, and end at most at upto. All is counted from word, which is that of the current message:
// where an empty one lies its slice does not say.
func (v *View) openWindow(word unsafe.Pointer, head, most, upto uint64) {
	v.base, v.head = word, head
	v.most = min(most, max(2*v.n, 64)) // what is longer is worth a call
	if last := int64(upto - layout.NextRecord(0, v.most, layout.RecordAlign-1)); last >= 0 {
		v.set(v.off, uint64(last)+1)
	}
}

// openInLine is openWindow on an SPSC ring, for the message at pos.
func (v *View) openInLine(pos uint64) {
	c, s := v.c, &v.c.short
	if s.align == layout.RecordAlign-1 && (pos+v.off)&c.inLap != 0 {
		v.openWindow(unsafe.Pointer(c.word(pos)), s.like<<48, s.most, s.until-pos)
	}
}

// openInBatch is openWindow in what is left of a batch of an MPSC ring. An entry of it has a Meta
// without flags for a word.
func (v *View) openInBatch(rest []byte) {
	v.openWindow(unsafe.Pointer(unsafe.SliceData(rest)), 0, uint64(v.c.maxMessage), uint64(len(rest)))
}
