package ring

import (
	"iter"
	"sync/atomic"

	"github.com/shmring/shmring/layout"
)

// area is the geometry of an SPSC ring: records in line, each behind one word (layout.Record),
// in a number of bytes that is a power of two. It and its two users, the producer's reserve and
// publish and the consumer's reader, are all that knows of it. See slots.go for its twin.
//
// Three rules hold it together:
//
//	Z  The word behind the newest record is 0 before that record is published. So whoever looks
//	   only behind what it has found published, as the consumer and the walk of a successor do,
//	   never reads what an older lap has left, which may be anything: it was payload.
//	W  The producer writes only from its position to ReadPos+size, that word included, and says
//	   so (Hot.Written) before it does.
//	C  A record lies in one piece. One that is to be skipped takes the rest of a lap.
//
// A producer that dies between any two stores leaves a 0 where its next record would have been:
// nothing was sent. What it has written behind that is cleared word by word, as the records of
// its successor grow over it.
type area struct {
	memory []byte
	start  *byte
	size   uint64
	inLap  uint64 // size − 1: which bits of a position say where it is in its lap
}

func (a *area) init(v *layout.View) {
	if a.memory, a.size = v.Area, uint64(v.Config.Area()); a.size == 0 {
		a.beNowhere()
		return
	}
	a.inLap = a.size - 1
	a.setStart()
}

// beNowhere makes it the area of an MPSC ring, and of a front.
func (a *area) beNowhere() {
	*a = area{memory: nowhere[:]}
	a.setStart()
}

// nowhere is that area: all positions are at a word that is 0, so the short ways of an SPSC ring find
// nothing there and need not ask what ring it is.
var nowhere [2 * layout.RecordHeader]byte

// load is the word at a position: atomic, because a word is what is waited for.
func (a *area) load(pos uint64) layout.Record { return loadAt(a.word(pos)) }

// loadAt is load of a word that is at hand.
func loadAt(at *uint64) layout.Record { return layout.Record(atomic.LoadUint64(at)) } // D2

// publish stores the word of a record, and hands over with it what was written before.
func (a *area) publish(pos uint64, w layout.Record) { atomic.StoreUint64(a.word(pos), uint64(w)) } // D1

// body is where the n bytes of the record at pos lie. They end in the area.
func (a *area) body(pos, n uint64) []byte {
	at := pos&a.inLap + layout.RecordHeader
	return a.memory[at : at+n : at+n]
}

// check looks whether a word that is not 0 is that of a record at pos, and returns where the
// next one begins. What it says of the length of a message is the caller's to compare.
func (a *area) check(pos uint64, w layout.Record) (end uint64, ok bool) {
	end = w.Next(pos)
	return end, w.IsSound() && end-pos <= a.size-pos&a.inLap
}

// room is how much there is behind pos if everything before read is released: for records, and
// the word behind them.
func (a *area) room(pos, read uint64) uint64 {
	if used := pos - read; used <= a.size-layout.RecordHeader {
		return a.size - layout.RecordHeader - used
	}
	return 0
}

// fit is what a record of n bytes at pos takes, aligned by mask, or what is left of the lap,
// which then has to be padded first.
func (a *area) fit(pos, n, mask uint64) (need uint64, pad bool) {
	need = layout.NextRecord(pos, n, mask) - pos
	if left := a.size - pos&a.inLap; need > left {
		return left, true
	}
	return need, false
}

// records walks over the records from a position to the first that is not there, with what
// loads words. It yields each once, and stops behind one that no correct producer writes, which
// it yields too.
func (a *area) records(from uint64, load func(pos uint64) layout.Record) iter.Seq2[uint64, layout.Record] {
	return func(yield func(uint64, layout.Record) bool) {
		for pos := from; ; {
			w := load(pos)
			if w == 0 || !yield(pos, w) {
				return
			}
			end, ok := a.check(pos, w)
			if !ok || end-from > a.size-layout.RecordHeader {
				return
			}
			pos = end
		}
	}
}

// walk follows the records from a position to the first that is not there. The error tells of
// one that no correct producer writes.
func (a *area) walk(from uint64, load func(pos uint64) layout.Record) (end uint64, err error) {
	end = from
	if from%layout.RecordAlign != 0 {
		return end, &CorruptError{"ReadPos", from, from}
	}
	for pos, w := range a.records(from, load) {
		next, ok := a.check(pos, w)
		if !ok || next-from > a.size-layout.RecordHeader {
			return end, &CorruptError{"word of a record", pos, uint64(w)}
		}
		end = next
	}
	return end, nil
}
