package main

import (
	"unsafe"

	"github.com/shmring/shmring/fuzz/internal/labs"
)

// word is an index into a journal's words.
type word int

const (
	told    word = iota // what the lab wants of the child, see phases
	reached             // how far the child is
	resume              // the history in which those who pause may go on
	start               // when to make the first call
	logged              // events in the log
	words   = 8
)

// event is a line of the log.
type event struct {
	at       int64
	position uint64
	size     uint32
	sizes    [mostOfBatch]uint32 // of a batch
	number   uint16              // loan, or at most how many, or how many
	what     what
	op       uint8
	id       uint8
	index    uint8
	answer   uint8
	flags    uint8
}

// mostOfBatch is how many messages a batch has at most.
const mostOfBatch = 4

// what an event is.
type what uint8

const (
	began   what = iota // a call
	handed              // to the handler of TryDrain
	ended               // the call, with the message that it returned, if any
	strange             // the call, with an error that it must not have
)

// flags of an event with a message.
const (
	hasMessage uint8 = 1 << iota
	isPlaced
	isRedelivered
	isTorn
)

const (
	maxEvents = 1024
	maxText   = 1024
)

// journal is what one child is told, and writes down.
type journal struct {
	*labs.Words[word]
	text []byte // the child's part in the next history, as a length and JSON
	log  []event
}

func openJournal(path string) (*journal, error) {
	w, err := labs.OpenWords[word](path, words, maxText+maxEvents*int(unsafe.Sizeof(event{})))
	if err != nil {
		return nil, err
	}
	// Rest is aligned to 8 bytes, as an event is at most, and so is what follows maxText of them;
	// there is room for just that many events.
	log := (*event)(unsafe.Pointer(unsafe.SliceData(w.Rest[maxText:])))
	return &journal{w, w.Rest[:maxText], unsafe.Slice(log, maxEvents)}, nil
}

// add appends an event. The store of the count is a full barrier: an event of which the lab
// knows was there before anything the child did later, and the time in it was taken before.
func (j *journal) add(e event) {
	n := j.Get(logged)
	if n == maxEvents {
		panic("the journal is full")
	}
	j.log[n] = e
	j.Put(logged, n+1)
}
