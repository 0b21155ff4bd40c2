package ring

import (
	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// telling is what the user was told, at a position. The segment says so when the user has
// made another call, and when all before that position is released: whoever is killed
// before leaves it to its successor, which tells it again, behind the messages that it gets
// again.
type telling struct {
	producer       int // or 0: io.EOF alone
	upto           uint32
	pos            uint64
	streams, ended uint64 // that were over since io.EOF, then
}

// note stores what was told and can be noted by now. Over comes first: it names what Told
// will be, so that whoever finds one without the other can mend that, see resume.
func (c *Consumer) note() {
	f := &c.fates
	block := &c.participants[layout.ConsumerIndex]
	for f.back > 0 && int64(c.released-f.unnoted[0].pos) >= 0 {
		t := f.unnoted[0]
		f.unnoted = f.unnoted[1:]
		f.back--
		producer, epoch := block.Over.Load().Newest()
		if t.producer != 0 {
			producer, epoch = uint8(t.producer), uint16(t.upto)
		}
		block.Over.Store(layout.PackOver(t.streams, t.ended, producer, uint32(epoch)))
		killpoint.At(killpoint.OverStored)
		if t.producer != 0 {
			c.participants[t.producer].Told.Store(t.upto)
			killpoint.At(killpoint.ToldStored)
		}
	}
}

// resume takes up what former consumers have told.
func (c *Consumer) resume() {
	f := &c.fates
	over := c.participants[layout.ConsumerIndex].Over.Load()
	f.streams, f.ended = over.Streams(), over.Ended()
	f.ahead, f.more = true, true // whatever News says
	f.next = c.pos + unreached
	c.finishNote()
	f.told = make([]uint32, len(c.participants))
	for i := range f.told {
		f.told[i] = c.participants[i].Told.Load()
	}
}

// finishNote does what a former consumer has left to do that was killed inside note. Whoever
// calls it is the consumer, or has the ring alone.
func (s *segment) finishNote() {
	over := s.participants[layout.ConsumerIndex].Over.Load()
	if producer, epoch := over.Newest(); s.isProducer(int(producer)) {
		m := &s.participants[producer]
		told := m.Told.Load()
		if ahead := epoch - uint16(told); int16(ahead) > 0 {
			m.Told.Store(told + uint32(ahead))
		}
	}
}
