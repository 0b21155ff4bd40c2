package ring

import (
	"encoding/binary"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// The claim of an SPSC producer: everything from its position to ReadPos+C is its
// own, so claiming is arithmetic on private words and nothing is shared until D1.

// sendQuick sends a message of one slot where there is room that is known of. False: see
// sendOwn. It is the path that has to be short, and in stores first of all: they leave
// the processor in order, so those that follow, spilled registers too, queue up behind
// the one for a line that the consumer has had, and the next line is asked for the later
// the more they are.
func (p *Producer) sendQuick(msg []byte, meta uint64) bool {
	pos := p.pos
	if len(msg) > p.quick || pos-p.readSeen.Load() >= p.slots || !p.enter() {
		return false
	}
	copy(p.bytes(pos, len(msg)), msg)
	killpoint.At(killpoint.PayloadWritten)
	p.label(pos, meta)
	p.store(1, layout.Committed)
	p.ring()
	p.leave()
	return true
}

// sendOwn sends a message.
func (p *Producer) sendOwn(msg []byte, meta uint64) error {
	if !p.enter() {
		return p.why()
	}
	defer p.leave()
	_, _, flags := layout.UnpackMeta(meta)
	if err := p.refuse(len(msg), flags); err != nil {
		return err
	}
	k, err := p.roomOwn(len(msg))
	if err != nil {
		return err
	}
	p.fill(p.pos, msg, meta)
	p.publishOwn(k)
	return nil
}

// setQuick is called whenever what sendQuick may do without asking has changed.
func (p *Producer) setQuick() {
	if p.shared {
		return // its goroutines do not share plain words; it stays −1
	}
	p.quick = min(p.oneSlot, p.maxMsg, movePiece)
	if p.open || p.mourn || p.ended.Load() {
		p.quick = -1
	}
}

// roomOwn makes sure that a record of n bytes fits at p.pos, behind padding if need
// be, and returns its length in slots. The caller is inside enter.
func (p *Producer) roomOwn(n int) (uint64, error) {
	if p.open {
		p.misuse("send or claim")
	}
	if p.mourn {
		if err := p.obituary(); err != nil {
			return 0, err
		}
	}
	k := p.slotsFor(n)
	for {
		need, pad := p.room(p.pos, k)
		if p.pos+need-p.readSeen.Load() > p.slots {
			read := p.hot.ReadPos.Load() // S2
			if p.pos-read > p.slots {
				return 0, p.corrupt("ReadPos", p.pos, read)
			}
			p.readSeen.Store(read)
			if p.pos+need-read > p.slots {
				return 0, ErrFull
			}
		}
		if !pad {
			p.renew(p.pos, k)
			return k, nil
		}
		p.renew(p.pos, need)
		p.store(need, layout.Discarded)
		p.ring() // there may be no room for the rest before the consumer has passed this
	}
}

// obituary puts on record, where the stream of a dead predecessor ends, that it died.
func (p *Producer) obituary() error {
	var note [8]byte
	binary.NativeEndian.PutUint32(note[:], p.former.Epoch)
	binary.NativeEndian.PutUint32(note[4:], uint32(p.former.PID))
	p.mourn = false // or roomOwn would come here again
	k, err := p.roomOwn(len(note))
	if err != nil {
		p.mourn = true
		return err
	}
	p.fill(p.pos, note[:], layout.PackMeta(uint32(len(note)), 0, layout.FlagDeath))
	p.publishOwn(k)
	p.setQuick()
	return nil
}

// publishOwn hands the record at p.pos to the consumer.
func (p *Producer) publishOwn(k uint64) {
	p.store(k, layout.Committed)
	p.ring()
}

func (p *Producer) store(k uint64, s layout.State) {
	pos := p.pos
	p.pos = pos + k
	p.desc[pos&p.mask].Ctl.Store(uint64(layout.PackCtl(layout.LapOf(pos, p.shift), k, p.me, s))) // D1
	killpoint.At(killpoint.CtlStored)
}

// renew rewrites the descriptors inside a claim of several slots once in 2^32 laps.
// Otherwise one that is never the first of a record could keep its word until the lap
// counter comes around to it.
func (p *Producer) renew(pos, k uint64) {
	lap := layout.LapOf(pos, p.shift)
	if k == 1 || lap&(1<<layout.RenewBits-1) != 0 {
		return
	}
	for i := uint64(1); i < k; i++ {
		p.desc[(pos+i)&p.mask].Ctl.Store(uint64(layout.PackCtl(lap, 0, p.me, layout.None)))
		killpoint.At(killpoint.InnerRenewed)
	}
}
