package main

import "github.com/shmring/shmring/layout"

// forgery is how what is in a ring is forged, of one kind of ring: how records lie is its business.
// Nothing else in this program knows a descriptor.
type forgery struct {
	garbage func(t *target)      // anything, where the next records are
	laps    func(t *target)      // what belongs to the lap before, or to the next
	bounds  func(t *target)      // lengths and numbers of slots around every limit
	spot    func(t *target) spot // a word of a record, for those who write back what it was
}

// inSlots is the forgery of rings whose records have a descriptor in their first slot.
var inSlots = forgery{slotGarbage, slotLaps, slotBounds, slotSpot}

var forgeries = map[layout.Kind]forgery{layout.SPSC: inLine, layout.MPSC: inSlots, layout.Broadcast: cast}

func strikeRecords(t *target) { forgeries[t.kind].garbage(t) }
func strikeLaps(t *target)    { forgeries[t.kind].laps(t) }
func strikeBounds(t *target)  { forgeries[t.kind].bounds(t) }

// slot is a position near those that matter, and where its descriptor is.
func (t *target) slot() (pos, at uint64) {
	read, tail := t.positions()
	switch t.chance.IntN(4) {
	case 0:
		pos = t.chance.Uint64N(t.slots)
	case 1:
		pos = tail + t.chance.Uint64N(4) - 2
	default:
		pos = read + t.chance.Uint64N(6)
	}
	return pos, t.desc + pos%t.slots*descriptorSize
}

// shift is log2 of the number of slots.
func (t *target) shift() uint { return t.view.Config.Shift() }

func slotSpot(t *target) spot {
	_, at := t.slot()
	return spot{at + 8*uint64(t.chance.IntN(2)), true}
}

func slotGarbage(t *target) {
	pos, at := t.slot()
	switch t.chance.IntN(4) {
	case 0: // what is there, by somebody else or in another state
		was := layout.Ctl(t.get(at))
		t.put(
			at,
			uint64(
				layout.PackCtl(
					was.Lap(),
					was.Slots(),
					uint8(t.chance.IntN(t.members+2)),
					layout.State(t.chance.IntN(4)),
				),
			),
		)
	case 1:
		near := layout.PackCtl(
			layout.LapOf(pos, t.shift()),
			1,
			uint8(t.chance.IntN(t.members+2)),
			layout.State(t.chance.IntN(4)),
		)
		t.put(at, t.edge(t.get(at), uint64(near)))
	case 2:
		t.put(at+8, t.edge(t.get(at+8), layout.PackMeta(uint32(t.chance.IntN(80)), 0, uint8(t.chance.IntN(4)))))
	case 3:
		t.put(at+16, t.chance.Uint64())
	}
}

func slotLaps(t *target) {
	pos, at := t.slot()
	lap := layout.LapOf(pos, t.shift())
	lap += []uint64{0, 1, ^uint64(0), 2, ^uint64(1), 1 << 41, 1 << 21}[t.chance.IntN(7)]
	was := layout.Ctl(t.get(at))
	if t.chance.IntN(3) > 0 {
		was = layout.PackCtl(0, 1, 1, layout.State(t.chance.IntN(4)))
	}
	t.put(at, uint64(was.In(lap&(1<<42-1))))
}

// whole writes a record that is complete, whatever is there: the length first, the control word last.
func (t *target) whole(pos, k, n uint64, flags uint8, owner uint8, state layout.State) {
	at := t.desc + pos%t.slots*descriptorSize
	t.put(at+8, layout.PackMeta(uint32(n), 0, flags))
	t.put(at, uint64(layout.PackCtl(layout.LapOf(pos, t.shift()), k, owner, state)))
}

// near is one of some limits, or next to it.
func (t *target) near(of ...uint64) uint64 {
	return of[t.chance.IntN(len(of))] + t.chance.Uint64N(3) - 1
}

// member is a producer that can be, mostly.
func (t *target) member() uint8 {
	if t.chance.IntN(16) == 0 {
		return uint8(t.near(1, uint64(t.members), 255))
	}
	return uint8(1 + t.chance.IntN(t.members-1))
}

// slotBounds writes records from the consumer's position on: a row of good ones, one of which is not, or of
// those that are all alike, up to the end of the lap and beyond.
func slotBounds(t *target) {
	read, _ := t.positions()
	left := t.slots - read%t.slots
	S := max(t.slotSize, 1)
	if t.chance.IntN(3) == 0 {
		k := 1 + t.chance.Uint64N(5)
		n, owner := k*S-t.chance.Uint64N(2), t.member()
		for pos := read; pos < read+left; pos += k {
			t.whole(pos, k, n, 0, owner, layout.Committed)
		}
		return
	}
	evil := t.chance.Uint64N(10)
	for i := range evil {
		t.whole(read+i, 1, t.chance.Uint64N(50), 0, t.member(), layout.Committed)
	}
	pos := read + evil
	most := uint64(t.view.Config.MaxMessage)
	n := t.near(1, 48, S, 2*S, left*S, t.slots*S, most, most+S, 1<<31, 1<<32-1, 200) & (1<<32 - 1)
	k := max(1, (n+S-1)/S)
	if t.chance.IntN(2) == 0 {
		k = t.near(1, left, t.slots, layout.MaxSlotsPerMessage, 2)
	}
	flags := uint8(0)
	if t.chance.IntN(2) == 0 {
		flags = uint8(t.near(1, 2, 2, 3, 4, 1<<7))
	}
	if t.chance.IntN(4) == 0 { // a batch that is too short for one entry
		n, k, flags = t.chance.Uint64N(9), 1, 2
	}
	// What may be the entries of a batch, in the descriptor and in the payload.
	entry := layout.PackMeta(uint32(t.near(1, 8, 32, 40, 48, n-8, n, S, most, 1<<31, 1<<32-1)), 0, 0)
	t.put(t.desc+pos%t.slots*descriptorSize+16+8*t.chance.Uint64N(2), entry)
	if t.slotSize > 0 {
		t.put(t.payload+pos%t.slots*S+8*t.chance.Uint64N(2), entry)
	}
	t.whole(pos, k, n, flags, t.member(), layout.Committed+layout.State(t.chance.IntN(4)/3))
	t.whole(pos+k, 1, 3, 0, 1, layout.Committed)
}
