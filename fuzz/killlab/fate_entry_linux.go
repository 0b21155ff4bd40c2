package main

import (
	"errors"
	"io"

	"github.com/shmring/shmring"
)

// Entries of modes fates and ends. A producer notes what it does to its streams:
const (
	entryBegun    uint32 = 1 << (iota + 16) // source is about to be opened
	entryAttached                           // it is; index: participant, seq: epoch
	entryEnding                             // its end is about to be called; index: fate
	entryEnded                              // and has returned
	entryCounts                             // of a stream that is over; record: tried, seq: sent

	// A consumer, besides messages, what it was told:
	entryTold     // OnStreamEnd: see toldEntry
	entryReturned // of a call that was told something, or of the next one; index: how
	entryClosed   // Close has returned
	entryReleased // what was held is
	entryCalled   // the call behind one that said something is about to be made
	entryHeld     // with a message: it is
)

// How a call returned that was told something: index of entryReturned. With returnedError
// it has what the *StreamError says, as entryTold has it.
const (
	returned uint32 = iota
	returnedError
	returnedEOF
)

// A consumer may have several rings: the upper bits of flags say which.
const ringShift = 28

func (e entry) ring() int { return int(e.flags >> ringShift) }

// toldEntry is what a consumer was told of a stream's end, or of several together.
func toldEntry(flags uint32, s shmring.StreamEnd) entry {
	return entry{at: monotonic(), source: source{uint32(s.Producer), s.Epoch}, flags: flags, index: uint32(s.PID),
		seq: uint64(s.Fate)<<32 | uint64(uint32(s.Streams)), record: s.Position.Record}
}

func (e entry) streams() uint32    { return uint32(e.seq) }
func (e entry) fate() shmring.Fate { return shmring.Fate(e.seq >> 32) }

// returnedEntry is how a call returned.
func returnedEntry(err error) (e entry, said bool) {
	var over *shmring.StreamError
	switch {
	case errors.As(err, &over):
		e = toldEntry(entryReturned, over.StreamEnd)
		e.index = returnedError
	case err == io.EOF:
		e = entry{at: monotonic(), flags: entryReturned, index: returnedEOF}
	default:
		return entry{at: monotonic(), flags: entryReturned}, false
	}
	return e, true
}

// stream is what one producer sent from its opening on, by its journal.
type stream struct {
	who         source
	pid         int
	place       int    // 0: not opened, as far as it could still say
	epoch       uint32 // likewise
	tried, sent uint64
	ending      bool // the call was begun that ends it with that fate
	ended       bool // and has returned
	fate        shmring.Fate
	killed      int64 // when its process was about to be killed; 0: it was not
	closing     int64 // before this nobody has stored its fate
}

// streams takes a producer's log apart. killed is when the kill was sent, or 0.
func (c *child) streams(log []entry, killed int64) (list []*stream) {
	var s *stream
	for _, e := range log {
		switch {
		case e.flags&entryBegun != 0:
			s = &stream{who: e.source, pid: c.PID(), killed: killed, closing: killed}
			list = append(list, s)
		case e.flags&entryAttached != 0:
			s.place, s.epoch = int(e.index), uint32(e.seq)
		case e.flags&entryEnding != 0:
			s.ending, s.fate, s.closing = true, shmring.Fate(e.index), e.at
		case e.flags&entryEnded != 0:
			s.ended = true
		case e.flags&entryCounts != 0:
			s.tried, s.sent = e.record, e.seq
			s = nil
		}
	}
	if s != nil {
		s.tried, s.sent = c.j.Get(tried), c.j.Get(sent)
	}
	return list
}

// isOver tells whether nothing more can come of a stream.
func (s *stream) isOver() bool { return s.ended || s.killed != 0 }

// may tells whether a stream may be told to have ended like that.
func (s *stream) may(f shmring.Fate) bool {
	if s.ending && f == s.fate {
		return true
	}
	return f == shmring.FateDied && !s.ended && s.killed != 0
}
