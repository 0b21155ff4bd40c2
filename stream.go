package shmring

import (
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Fate is how a stream, what one producer sends between opening and closing, ended. What
// is worse is greater.
type Fate uint8

const (
	FateEnded  Fate = iota // by CloseSend or Close
	FateLeft               // by a Close with Options.KeepStream: the next producer goes on with it
	FateFailed             // by FailSend: what was sent is not the whole
	FateDied               // its producer died
)

// String is "ended", "left", "failed" or "died".
func (f Fate) String() string {
	if f > FateDied {
		return "unknown"
	}
	return [...]string{"ended", "left", "failed", "died"}[f]
}

// StreamEnd says how the stream of a producer ended, see [Options].OnStreamEnd.
type StreamEnd struct {
	Fate     Fate
	Producer int      // Info.Participant of the producer
	Epoch    uint32   // Info.Epoch
	PID      int      // of the producer, as it saw itself; 0: not known
	Position Position // everything that it sent is before it
	// Streams is 1. A ring remembers how each of 24 streams of a participant slot
	// ended that nobody was told of. Of more, in one slot without a consumer, it tells together
	// how many there were, and the worst of their fates.
	Streams int
}

func streamEndOf(e ring.StreamEnd) StreamEnd {
	return StreamEnd{Fate(e.Fate), e.Producer, e.Epoch, e.PID, Position{Record: e.Position}, e.Streams}
}

func (e StreamEnd) inRing() ring.StreamEnd {
	return ring.StreamEnd{Fate: layout.Fate(e.Fate), Producer: e.Producer, Epoch: e.Epoch, PID: e.PID,
		Position: e.Position.Record, Streams: e.Streams}
}
