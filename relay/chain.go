package relay

import (
	"path/filepath"

	"github.com/shmring/shmring"
)

// chain is the file in which an Out notes how it has divided what may still be on its way to the server: which
// messages of the ring, or which end, is what it sends to be stored as which sequence.
//
// The server takes a message where the stream's last sequence is the one before. That says nothing of what is
// stored under it. If a successor, or the same Out after a connection that broke, divided otherwise than before, one
// of its messages could be taken behind an older one that was still on its way, under a sequence that both
// have used, and what lies between the two would be stored twice or never. So what was noted is
// sent again as it was, and under each sequence there is only one thing that can be stored.
//
//	0                    as all notes; of that ring and stream is everything in it
//	64 + 64·i            an end that is to be stored behind what is noted, of participant i: 1, then as below
//	16448 + 64·(s mod n) sequence s (0: none, or being written), position, index and flags, end
type chain struct{ notes }

const (
	chainMagic   = 0x314e494843524853 // "SHRCHIN1" in a little-endian file
	chainVersion = 1
	chainPlace   = 64
	chainLength  = 4096 // more is never on its way
	atOwed       = 64
	mostOwed     = 256 // participants of a ring
	atLinks      = atOwed + mostOwed*chainPlace
	chainSize    = atLinks + chainLength*chainPlace

	atRecord, atFlags, atWho, atFate, atStreams = 8, 16, 24, 32, 40
)

// Flags of a link, beside the index of its position.
const (
	linkNowhere = 1 << (32 + iota)
	linkPacked
	linkEnd
	linkAll
)

// link is what may be stored under a sequence.
type link struct {
	seq      uint64
	position shmring.Position // of the last message in it; of an end, of the last message before it
	nowhere  bool             // of an end: there is none before it
	packed   bool
	end      *end
}

// openChain opens the chain file of a ring, or makes it.
func openChain(dir, ring string) (*chain, error) {
	n, err := openNotes(filepath.Join(dir, "."+ring+".chain"), chainSize, chainMagic, chainVersion)
	if err != nil {
		return nil, err
	}
	return &chain{*n}, nil
}

// of makes the chain one of that ring and stream. If it was of others, it is emptied, and, where something may have
// been on its way, left is true.
func (c *chain) of(uuid [16]byte, created uint64) (left bool) {
	if c.isRing(uuid) && c.word(atCreated).Load() == created {
		return false
	}
	for at := atOwed; at < chainSize; at += chainPlace {
		if c.word(at).Load() != 0 {
			c.word(at).Store(0)
			left = left || at >= atLinks
		}
	}
	c.setRing(uuid)
	c.word(atCreated).Store(created)
	return left
}

func (c *chain) at(seq uint64) int { return atLinks + int(seq%chainLength)*chainPlace }

// add notes what is about to be sent.
func (c *chain) add(l *link) {
	at := c.at(l.seq)
	c.word(at).Store(0)
	flags := uint64(l.position.Index)
	if l.nowhere {
		flags |= linkNowhere
	}
	if l.packed {
		flags |= linkPacked
	}
	if l.end != nil {
		if flags |= linkEnd; l.end.all {
			flags |= linkAll
		}
		c.putEnd(at, &l.end.StreamEnd)
	}
	c.word(at + atRecord).Store(l.position.Record)
	c.word(at + atFlags).Store(flags)
	c.word(at).Store(l.seq)
}

// after is what was noted behind a sequence, without a gap.
func (c *chain) after(seq uint64) (list []link) {
	for s := seq + 1; s-seq <= chainLength && c.word(c.at(s)).Load() == s; s++ {
		at := c.at(s)
		flags := c.word(at + atFlags).Load()
		l := link{seq: s, nowhere: flags&linkNowhere != 0, packed: flags&linkPacked != 0,
			position: shmring.Position{Record: c.word(at + atRecord).Load(), Index: uint32(flags)}}
		if flags&linkEnd != 0 {
			l.end = &end{all: flags&linkAll != 0, StreamEnd: c.getEnd(at)}
		}
		list = append(list, l)
	}
	return list
}

// cut forgets what was noted from a sequence on.
func (c *chain) cut(seq uint64) {
	for ; c.word(c.at(seq)).Load() == seq; seq++ {
		c.word(c.at(seq)).Store(0)
	}
}

// owe notes an end that is to be stored when what was noted is. Of two in one slot of the ring it is told together, as
// the ring does itself.
func (c *chain) owe(e shmring.StreamEnd) {
	at := atOwed + e.Producer*chainPlace
	if c.word(at).Load() != 0 {
		before := c.getEnd(at)
		e.Streams, e.Fate = e.Streams+before.Streams, max(e.Fate, before.Fate)
	}
	c.word(at).Store(0)
	c.putEnd(at, &e)
	c.word(at).Store(1)
}

// owed are those ends.
func (c *chain) owed() (list []shmring.StreamEnd) {
	for i := range mostOwed {
		if at := atOwed + i*chainPlace; c.word(at).Load() != 0 {
			e := c.getEnd(at)
			e.Producer = i
			list = append(list, e)
		}
	}
	return list
}

// paid forgets one.
func (c *chain) paid(e *shmring.StreamEnd) { c.word(atOwed + e.Producer*chainPlace).Store(0) }

func (c *chain) putEnd(at int, e *shmring.StreamEnd) {
	c.word(at + atWho).Store(uint64(e.Producer) | uint64(e.Epoch)<<32)
	c.word(at + atFate).Store(uint64(uint32(e.PID)) | uint64(e.Fate)<<32)
	c.word(at + atStreams).Store(uint64(e.Streams))
}

func (c *chain) getEnd(at int) shmring.StreamEnd {
	who, fate := c.word(at+atWho).Load(), c.word(at+atFate).Load()
	return shmring.StreamEnd{Producer: int(uint32(who)), Epoch: uint32(who >> 32), PID: int(uint32(fate)),
		Fate: shmring.Fate(fate >> 32), Streams: int(c.word(at + atStreams).Load())}
}
