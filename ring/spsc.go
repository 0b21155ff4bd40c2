package ring

import (
	"sync/atomic"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// The way of a record on an SPSC ring. Everything from the producer's position to
// ReadPos+size is its own, so reserving is arithmetic on private words, and nothing is shared
// until D1. See mpsc.go for its twin: the same functions in the same order, and area.go for the
// rules Z, W and C.

// spsc is the state of an SPSC ring's producer, touched by the one goroutine inside enter
// and leave.
type spsc struct {
	pos    uint64 // next position
	bound  uint64 // up to it a record may end: there is room, it is the same lap, and nothing else to look at
	looked uint64 // where errLook was returned last
	open   bool   // a Claim is neither committed nor aborted
	opened uint64 // where this producer has begun

	// The short way of a message: see sendShort.
	edge  uint64        // up to it a message may end that needs no more than to be written
	far   uint64        // where edge is when no Claim is open
	most  uint64        // the longest such message
	align uint64        // what records are aligned to, less one
	head  layout.Record // what their words have in common

	clean   uint64 // before it, from pos on, all is 0 but what a Claim has written
	soon    uint64 // when a record ends there or behind, prepare is due
	written uint64 // Hot.Written
	quiet   uint32 // the bell word when it was heeded last
	plain   bool   // records are published without a full barrier: see publishAt
	joined  bool   // Config.Barrier reaches this process
	mayJoin bool   // or may do so later
	barrier atomic.Uint32
}

const (
	// clearAhead is how many bytes are cleared at a time, and clearSoon how far before the end
	// of what is clear. It pays for records of up to clearMost bytes.
	clearAhead = 256
	clearSoon  = layout.LineAlign
	clearMost  = 128
	// fetchAhead is how far behind what is cleared lines are asked for. Of longer records those of
	// fetchStep bytes at a time, so far behind the last record; of batches, of less than fetchMost, as many as
	// the last one had.
	fetchAhead = 512
	fetchStep  = 1024
	fetchMost  = 4096
	// joinAfter is how many bytes of records a producer has to have sent before it asks the system to
	// let this process join: that takes 15 ms, and a process that is killed meanwhile dies so much later.
	joinAfter = 64 << 10
	// writtenStep is how far Written runs ahead, so that not every record costs a store.
	writtenStep = lookBytes
)

// openSPSC finds the end of what was committed, which is where this producer goes on.
func (p *Producer) openSPSC(read uint64) (err error) {
	if p.pos, err = p.walk(read, p.load); err != nil {
		return err
	}
	p.spsc.looked, p.bound, p.opened = p.pos, p.pos, p.pos
	p.unstamp()
	p.dirty()
	p.most = uint64(min(p.maxMessage, copyPiece))
	p.written = p.hot.Written.Load()
	if p.written-p.pos > p.room(p.pos, read)+layout.RecordHeader {
		p.written = p.pos // of one that was killed it is farther, and stays; what lies is not believed
	}
	if p.broadcast {
		return p.openBroadcast(read)
	}
	if plainStores && p.cfg.Barrier != nil {
		p.joined = p.cfg.Barrier.Joined() // another handle of this process had it join
		p.mayJoin = !p.joined
	}
	p.heed(p.notifyWord.Load() &^ layout.BellSleeping)
	return nil
}

// reserveSPSC makes room for a record of n bytes at p.pos, behind padding if need be. The caller
// is inside enter.
func (p *Producer) reserveSPSC(n uint64) error {
	for {
		need, pad := p.area.fit(p.pos, n, p.align)
		if int64(p.pos+need-p.bound) > 0 {
			if err := p.extendSPSC(need); err != nil {
				return err
			}
		}
		if !pad {
			return nil
		}
		// There may be no room for the rest before the consumer has passed this (C).
		p.publishSPSC(layout.PackRecord(uint32(need-layout.RecordHeader), 0, layout.RecordAlign) | layout.RecordSkip)
		p.spsc.looked = p.pos // padding is no message
	}
}

// extendSPSC moves bound on for a record that takes need bytes. Not inlined: see cacheReadPos.
//
//go:noinline
func (p *Producer) extendSPSC(need uint64) error {
	if p.broadcast {
		err := p.extendBroadcast(need)
		p.setEdge()
		return err
	}
	if p.mayJoin && p.pos-p.opened >= joinAfter && p.join() {
		// As the bell was when it was looked at last; if that is over, tell finds out. It is not for
		// heed to say: that decides besides how records are aligned, and this one has been.
		p.plain = p.quiet&layout.BellFences != 0
	}
	read := p.cachedReadPos.Load()
	most := max(lookBytes, min(16*need, 4*lookBytes)) // not behind every few long records
	if p.pos-p.spsc.looked >= most {
		p.spsc.looked = p.pos
		p.setBound(read, most)
		return errLook
	}
	if need > p.room(p.pos, read) {
		var err error
		if read, err = p.loadReadPos(); err != nil {
			return err
		}
		p.cachedReadPos.Store(read)
		p.asked(p.pos - read)
		if need > p.room(p.pos, read) {
			return ErrFull
		}
	}
	p.setBound(read, max(p.spsc.looked+most-p.pos, need))
	return nil
}

// join asks whether Config.Barrier reaches this process now, and reports whether that is news.
func (p *Producer) join() bool {
	joined, err := p.cfg.Barrier.Join()
	p.joined, p.mayJoin = joined, !joined && err == nil
	return joined
}

// loadReadPos loads ReadPos. The error tells of one that no correct peer can have written: it
// would keep the producer waiting for ever, or let it write where the consumer reads.
func (p *Producer) loadReadPos() (uint64, error) {
	read := p.hot.ReadPos.Load() // S2
	if p.pos-read > p.size-layout.RecordHeader || read%layout.RecordAlign != 0 {
		return 0, p.corrupt("ReadPos", p.pos, read)
	}
	return read, nil
}

// setBound moves bound on by so many bytes at most, where there is so much room behind read, and
// says that what is before it may be written, with the word behind it (W).
func (p *Producer) setBound(read, most uint64) {
	p.bound = p.pos + min(p.room(p.pos, read), most, p.size-p.pos&p.inLap)
	if end := p.bound + layout.RecordHeader; int64(end-p.written) > 0 {
		p.written = p.pos + min((end-p.pos+writtenStep-1)&^(writtenStep-1), p.room(p.pos, read)+layout.RecordHeader)
		p.sayWritten(p.written)
	}
	p.setEdge()
}

// scrub clears the word behind a record that ends at end, unless it is clear, before the record is
// published (Z).
func (p *Producer) scrub(end uint64) {
	if int64(end-p.clean) >= 0 {
		*p.word(end) = 0
		killpoint.At(killpoint.WordCleared)
	}
}

// publishSPSC publishes the record at p.pos with that word.
func (p *Producer) publishSPSC(w layout.Record) {
	pos, end := p.pos, w.Next(p.pos)
	p.scrub(end)
	p.publish(pos, w) // D1
	killpoint.At(killpoint.CtlStored)
	p.pos = end
	p.tell()
}

// publish stores the word of the record at pos, and hands over with it what was written before (D1).
func (p *Producer) publish(pos uint64, w layout.Record) { p.publishAt(p.word(pos), w) }

// publishAt is publish of a word that is at hand. All records of this producer are published by
// it. It is a full barrier, because the bell is looked at next (B1), or none at all: then the
// consumer that goes to sleep has one done for us, by Config.Barrier, between its announcement
// and its second look, as it has promised in the bell word (BellFences).
func (p *Producer) publishAt(at *uint64, w layout.Record) {
	if p.plain {
		storePlain(at, uint64(w))
	} else {
		atomic.StoreUint64(at, uint64(w))
	}
}

// tell follows every publish (B1). It is notify, and looks besides at what the consumer asks for.
func (p *Producer) tell() {
	if w := p.notifyWord.Load(); w != p.quiet {
		p.heed(w)
	}
}

// heed does what a bell word asks for: to wake the consumer, to publish without a barrier or with
// one, and to give records lines of their own, or not. A consumer that waits for each message
// polls the line that its record will be in; if the one before is in there too, the line goes to
// and fro for nothing.
//
//go:noinline
func (p *Producer) heed(w uint32) {
	if p.broadcast {
		p.heedNobody(w)
		return
	}
	for {
		if w&layout.BellSleeping != 0 {
			p.wakePeer()
			w = p.notifyWord.Load()
		}
		if !p.plain || w&layout.BellFences != 0 {
			break
		}
		// The promise is withdrawn, and who did that has seen to what was published before, see
		// withdrawFences. What was published since becomes one with a barrier after the event.
		p.plain = false
		p.barrier.Store(0)
		w = p.notifyWord.Load()
	}
	p.plain = p.joined && w&layout.BellFences != 0
	p.quiet = w &^ layout.BellSleeping // who sleeps by now has looked again after the publish (B2)
	align := uint64(layout.RecordAlign)
	if w&layout.BellEach != 0 {
		align = layout.LineAlign
	}
	p.align, p.head = align-1, layout.PackRecord(0, 0, align)
}

// prepare makes ready what is written next, behind a publish of a record of size bytes, while nobody
// waits for it. Lines that will be written are asked for long before: to have them brought takes
// longer than to write them, and a store that waits for its line holds up all behind it. And
// what will be behind short records is cleared for many of them at once.
func (p *Producer) prepare(size uint64) {
	from := p.pos
	if int64(from-p.soon) < 0 {
		return
	}
	if size > clearMost {
		step := uint64(fetchStep)
		if size > fetchStep && size < fetchMost {
			step = size &^ (layout.LineAlign - 1) // a batch, and the next one is as long
		}
		p.soon = from + step
		p.fetchBehind(from+fetchStep, int(step/layout.LineAlign))
		return
	}
	// Up to bound, within the lap.
	to := from + min(clearAhead, p.bound+layout.RecordHeader-from, p.size-from&p.inLap)
	if int64(p.clean-from) > 0 {
		from = p.clean
	}
	if int64(p.bound-p.pos) > 0 && int64(to-from) > 0 {
		clear(p.memory[from&p.inLap:][:to-from])
		killpoint.At(killpoint.AreaCleared)
		p.clean, p.soon = to, to-clearSoon
		p.fetchBehind(to, clearAhead/layout.LineAlign)
	}
}

// fetchBehind asks for lines, fetchAhead behind pos, if the consumer is done with them.
func (p *Producer) fetchBehind(pos uint64, lines int) {
	if pos += fetchAhead; pos+uint64(lines)*layout.LineAlign-p.cachedReadPos.Load() <= p.size {
		p.fetch(pos, lines)
	}
}

// dirty forgets what is known to be 0: a claim was given up, or shortened, that has written there.
func (p *Producer) dirty() { p.clean, p.soon = p.pos, p.pos }

// hasSpaceSPSC tells whether a record of n bytes, or the padding before it, would fit.
func (p *Producer) hasSpaceSPSC(n uint64) bool {
	need, _ := p.area.fit(p.pos, n, p.align)
	return need <= p.room(p.pos, p.hot.ReadPos.Load()) // S2
}

// checkSpaceSPSC finds a ReadPos that no correct peer can have written.
func (p *Producer) checkSpaceSPSC() error {
	_, err := p.loadReadPos()
	return err
}

// setEdge is called whenever something has changed that decides how far the short way goes:
// bound, whether a Claim is open, or the stream has begun or ended.
func (p *Producer) setEdge() {
	if p.mpsc {
		return // its goroutines do not share plain words; there is no edge before it
	}
	if p.far = p.bound; p.phase.Load() != streaming {
		p.far = p.pos
	}
	if p.edge = p.far; p.open {
		p.edge = p.pos
	}
}

// batchSPSC sends as many of msgs as it may by the short way, and returns how many that were. The
// word of the first is published last, and with it those of all others.
func (p *Producer) batchSPSC(msgs [][]byte) (n int) {
	begin := p.pos
	if int64(p.edge-begin) <= 0 || !p.enter() {
		return 0
	}
	const mask = layout.RecordAlign - 1 // who takes many at a time does not wait for each
	head := layout.PackRecord(0, 0, layout.RecordAlign)
	end := begin
	for _, m := range msgs {
		size := uint64(len(m))
		next := layout.NextRecord(end, size, mask)
		if size > p.most || int64(p.edge-next) < 0 {
			break
		}
		p.fill(end, m)
		if n++; n > 1 {
			*p.word(end) = uint64(head) | size // seen by nobody before the first
			killpoint.At(killpoint.EntryWritten)
		}
		end = next
	}
	if n > 0 {
		p.scrub(end)
		p.publish(begin, head|layout.Record(len(msgs[0]))) // D1
		killpoint.At(killpoint.CtlStored)
		p.pos = end
		p.tell()
		p.prepare(end - begin)
	}
	p.leave()
	return n
}

// fill copies a message to where it belongs.
func (p *Producer) fill(pos uint64, msg []byte) {
	n := uint64(len(msg))
	switch {
	case n-8 <= few:
		copyFew(behind(p.word(pos)), first(msg), n)
	case n-8 <= some:
		copySome(behind(p.word(pos)), first(msg), n)
	default:
		copyOut(p.bodyAt(pos, n), msg)
	}
	killpoint.At(killpoint.PayloadWritten)
}
