package relay

import (
	"fmt"
	"path/filepath"

	"github.com/shmring/shmring"
)

// mark is the file in which an In notes what it sends.
//
// It has two places, which are written in turn. The note of message n is complete before the message is
// committed, and that of n+1 is begun only when that of n has its done bit. So there is always one that is
// complete, and of a newest one without its done bit the ring is asked (Producer.ClaimState). Only the
// holder of the file's flock reads or writes it.
//
//	0   magic          40  participant slot of In in the ring
//	8   version        48  its epoch
//	16  ring's UUID    56  the ring's newest event when In attached
//	32  created: of the stream, in nanoseconds since 1970
//	64 + 64·i, i = n mod 2: state, sequence, index, position, kind
//
// state is 0 while the place is written, else n << 1 | done.
type mark struct {
	notes
	n uint64
}

const (
	markSize    = 4096
	markMagic   = 0x314b52414d524853 // "SHRMARK1" in a little-endian file
	markVersion = 1

	atSlot, atEpoch, atEvents                        = 40, 48, 56
	atPlaces, placeSize                              = 64, 64
	atState, atSequence, atIndex, atPosition, atWhat = 0, 8, 16, 24, 32
)

// what a note is about.
const (
	noteNothing = iota // it sends nothing: the message has no effect on the ring
	noteMessage
	noteEnd
)

// note is what an In is about to send, or has sent.
type note struct {
	seq      uint64 // of the stream
	index    int    // of a packed message
	complete bool   // nothing more comes of that sequence
	what     uint64
	position uint64 // of the claim
	done     bool   // it was sent
	n        uint64
}

// openMark opens the mark file, or makes it. Errors: ErrBusy if another In has it; ErrMark.
func openMark(path string) (*mark, error) {
	f, err := openNotes(path, markSize, markMagic, markVersion)
	if err != nil {
		return nil, err
	}
	m := &mark{notes: *f}
	if newest, ok := m.newest(); ok {
		m.n = newest.n
	}
	return m, nil
}

// newest is the newest complete note, if there is one.
func (m *mark) newest() (newest note, found bool) {
	for i := range 2 {
		at := atPlaces + i*placeSize
		state := m.word(at + atState).Load()
		if n := state >> 1; n > newest.n {
			index := m.word(at + atIndex).Load()
			newest, found = note{seq: m.word(at + atSequence).Load(), index: int(index >> 1), complete: index&1 != 0,
				what: m.word(at + atWhat).Load(), position: m.word(at + atPosition).Load(), done: state&1 != 0, n: n}, true
		}
	}
	return newest, found
}

// begin notes what is about to be sent. Until done is called it is not known whether it was.
func (m *mark) begin(w note) {
	m.n++
	at := atPlaces + int(m.n&1)*placeSize
	m.word(at + atState).Store(0)
	m.word(at + atSequence).Store(w.seq)
	index := uint64(w.index) << 1
	if w.complete {
		index |= 1
	}
	m.word(at + atIndex).Store(index)
	m.word(at + atPosition).Store(w.position)
	m.word(at + atWhat).Store(w.what)
	m.word(at + atState).Store(m.n << 1)
}

// done notes that the newest was sent.
func (m *mark) done() { m.word(atPlaces + int(m.n&1)*placeSize + atState).Store(m.n<<1 | 1) }

// undo takes back the newest, which was not sent.
func (m *mark) undo() {
	m.word(atPlaces + int(m.n&1)*placeSize + atState).Store(0)
	m.n--
}

// attached notes in which ring, and as whom, In is going to send. The newest note is done.
func (m *mark) attached(i shmring.Info, events uint64) {
	m.setRing(i.UUID)
	m.word(atSlot).Store(uint64(i.Participant))
	m.word(atEpoch).Store(uint64(i.Epoch))
	m.word(atEvents).Store(events)
}

// markPath is where the mark file of an In is.
func markPath(dir, ring, durable string) (string, error) {
	if durable == "" || filepath.Base(durable) != durable || len(durable) > 32*4 {
		return "", fmt.Errorf("relay: durable name %q: want a name that a file can have, of at most 128 bytes", durable)
	}
	return filepath.Join(dir, "."+ring+"."+durable+".mark"), nil
}
