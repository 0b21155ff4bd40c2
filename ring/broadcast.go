package ring

import (
	"sync/atomic"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// A broadcast ring is an SPSC ring without a consumer: its producer waits for nobody, and its records
// overwrite the oldest. Who reads takes no part and is not known, so there is no bell to look at either,
// and Send is that of an SPSC ring without a barrier. What is different is all here, and happens once
// in a few KiB, where a producer of an SPSC ring looks how much room there is:
//
//	count what was sent since the newest waypoint, from the records themselves
//	that is a waypoint: the newest; one to be kept, if it is the first in its part of the area; ReadPos
//	Written, a step ahead, and then a barrier: what is behind it is overwritten now (W)
//
// Nothing is counted for each message: a record that lies in the ring is counted when it is passed,
// whoever has sent it. So a producer that is killed at any instruction leaves nothing that is not counted: the newest
// waypoint stays while the next one is written, and from there its successor follows the records to the
// end, as rule Z has it.
//
// Who observes copies a record and then asks Written whether it was whole. One that was overtaken
// begins again at a waypoint, which tells how many messages were sent before it, and so how many
// it has missed.

// broadcaster is what the producer of a broadcast ring has besides.
type broadcaster struct {
	newest layout.Waypoint
	turn   uint64 // layout.Waypoints.Turn
	kept   uint64 // the first waypoint from there on is kept
	step   uint64 // how far bound goes, unless a record takes more
}

// openBroadcast counts up to p.pos, from the newest waypoint.
func (p *Producer) openBroadcast(read uint64) error {
	pos, messages, ok := p.waypoint()
	if !ok || pos-read > p.pos-read || pos%layout.RecordAlign != 0 {
		return &CorruptError{"waypoint", read, pos}
	}
	p.newest, p.turn = layout.Waypoint{Position: pos, Messages: messages}, atomic.LoadUint64(&p.hot.Waypoints.Turn)
	p.step = uint64(p.view.Config.Step())
	p.heedNobody(p.notifyWord.Load())
	p.kept = pos
	if w, ok := loadKept(p.view.KeptOf(pos)); ok && w.Position/p.part() == pos/p.part() {
		p.kept = p.partBehind(w.Position)
	}
	if err := p.mark(); err != nil {
		return err
	}
	p.base = p.counters(int(p.index)) // what a dead one had sent is counted by now
	return nil
}

// heedNobody is heed where nobody sleeps, so that no publish needs a barrier, whatever is in the word.
func (p *Producer) heedNobody(w uint32) {
	p.quiet, p.plain = w, plainStores
	p.align, p.head = layout.RecordAlign-1, layout.PackRecord(0, 0, layout.RecordAlign)
}

// extendBroadcast is extendSPSC where the room is that of the oldest.
//
//go:noinline
func (p *Producer) extendBroadcast(need uint64) error {
	if err := p.mark(); err != nil {
		return err
	}
	p.bound = p.pos + min(max(p.step, need), p.size-p.pos&p.inLap)
	if end := p.bound + layout.RecordHeader; int64(end-p.written) > 0 {
		p.written = end
		p.sayWritten(end)
	}
	if p.pos-p.spsc.looked >= max(lookBytes, min(16*need, 4*lookBytes)) {
		p.spsc.looked = p.pos
		p.progressed()
		return errLook
	}
	return nil
}

// mark makes a waypoint of the producer's position, and brings its counters up to date.
func (p *Producer) mark() error {
	if p.pos == p.newest.Position {
		return nil
	}
	messages, bytes, bad := p.sent(p.newest.Position, p.pos)
	if bad != nil {
		return p.failWith(bad)
	}
	p.newest.Position, p.newest.Messages = p.pos, p.newest.Messages+messages
	p.turn++
	p.leaveWaypoint(p.turn, p.newest.Position, p.newest.Messages)
	if int64(p.pos-p.kept) >= 0 {
		storeKept(p.view.KeptOf(p.pos), p.newest)
		p.kept = p.partBehind(p.pos)
	}
	p.hot.ReadPos.Store(p.pos)
	killpoint.At(killpoint.ReadPosStored)
	p.cachedReadPos.Store(p.pos) // for fetchBehind: nobody is in the way
	// All of them were sent by this place.
	p.participants[p.index].Counters[layout.Messages].Store(p.newest.Messages)
	p.count(layout.Bytes, bytes)
	return nil
}

// sent counts the messages between two positions, and their bytes. Most records are like the one before:
// where the next one begins is known then before this one is loaded, so each takes half a nanosecond,
// and not the time of a load and of all that it takes to understand it.
func (s *segment) sent(from, to uint64) (messages, bytes uint64, bad *CorruptError) {
	var like layout.Record // 0: none
	var step uint64
	pos := from
	for int64(to-pos) > 0 {
		w := s.load(pos)
		if w != like || w == 0 {
			end, ok := s.check(pos, w)
			if !ok || w == 0 || int64(to-end) < 0 {
				return 0, 0, &CorruptError{"word of a record", pos, uint64(w)}
			}
			if w&layout.RecordSkip != 0 {
				pos = end
				continue
			}
			if like, step = w, end-pos; w.Mask() != layout.RecordAlign-1 {
				like = 0 // where the next one begins depends on where this one does
			}
		}
		pos += step
		messages++
		bytes += w.Length()
	}
	if pos != to {
		return 0, 0, &CorruptError{"word of a record", to, pos}
	}
	return messages, bytes, nil
}
