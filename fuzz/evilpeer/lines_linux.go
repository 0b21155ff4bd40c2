package main

import "github.com/shmring/shmring/layout"

// inLine is the forgery of rings whose records lie in line, each behind its word.
var inLine = forgery{lineGarbage, lineLaps, lineBounds, lineSpot}

// size is how many bytes the records lie in.
func (t *target) size() uint64 { return uint64(t.view.Config.Area()) }

// span is how many positions a lap has.
func (t *target) span() uint64 {
	if t.kind == layout.MPSC {
		return t.slots
	}
	return t.size()
}

// word is where in the file the word at a position is.
func (t *target) word(pos uint64) uint64 { return t.payload + pos&^7%t.size() }

// line is a position near those that matter: one where a record begins, mostly, if the consumer's
// position and the words behind it are not forged.
func (t *target) line() (pos uint64) {
	switch pos = t.get(readPosAt) &^ 7; t.chance.IntN(6) {
	case 0:
		return t.chance.Uint64N(t.size()) &^ 7
	case 1:
		return t.get(writtenAt)&^7 + 8*t.chance.Uint64N(4) - 16
	default:
		for range t.chance.IntN(6) {
			w := layout.Record(t.get(t.word(pos)))
			if w == 0 || !w.IsSound() {
				break
			}
			pos = w.Next(pos)
		}
		return pos
	}
}

func lineSpot(t *target) spot { return spot{t.word(t.line()), true} }

// record is a word that looks like one.
func (t *target) record(n uint64) uint64 {
	align := uint64(layout.RecordAlign)
	if t.chance.IntN(4) == 0 {
		align = layout.LineAlign
	}
	w := layout.PackRecord(uint32(n), uint16(t.chance.IntN(2)), align)
	if t.chance.IntN(4) == 0 {
		w |= []layout.Record{layout.RecordFirst, layout.RecordSkip}[t.chance.IntN(2)]
	}
	return uint64(w)
}

func lineGarbage(t *target) {
	at := t.word(t.line())
	switch t.chance.IntN(3) {
	case 0:
		t.put(at, t.edge(t.get(at), t.record(t.chance.Uint64N(80))))
	case 1: // with bits that no record has
		t.put(at, t.record(t.chance.Uint64N(80))^1<<(48+t.chance.IntN(16)))
	case 2: // where another word may be read next, or payload
		t.put(t.word(t.line()+8+8*t.chance.Uint64N(4)), t.chance.Uint64())
	}
}

// lineLaps puts where one record is, or will be, what lies where another one is: a word of another lap.
func lineLaps(t *target) {
	from := []uint64{8, 16, 64, t.size() / 2, t.size() - 8, t.size() - 64}[t.chance.IntN(6)]
	pos := t.line()
	t.put(t.word(pos), t.get(t.word(pos+from)))
}

// lineBounds writes records from the consumer's position on: a row of good ones, one of which is
// not, or of those that are all alike, up to the end of the lap and beyond.
func lineBounds(t *target) {
	pos, size := t.get(readPosAt)&^7, t.size()
	left := size - pos%size
	if t.chance.IntN(3) == 0 {
		n := t.chance.Uint64N(100)
		for end := pos + left; pos < end; {
			w := t.record(n)
			t.put(t.word(pos), w)
			pos = layout.Record(w).Next(pos)
		}
		return
	}
	for range t.chance.Uint64N(10) {
		w := t.record(t.chance.Uint64N(50))
		next := layout.Record(w).Next(pos)
		t.put(t.word(next), 0)
		t.put(t.word(pos), w)
		pos = next
	}
	most := uint64(t.view.Config.MaxMessage)
	n := t.near(8, 64, left, left-8, left-16, size, size-8, size-16, most, most+8, 1<<31, 1<<32-1) & (1<<32 - 1)
	t.put(t.word(pos), t.record(n))
}
