package main

import (
	"time"
	"unsafe"

	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

// word is an index into a journal's words.
type word int

const (
	phase   word = iota // how far the child is: see the roles
	command             // what the lab wants of it
	tried               // number of the newest message the child has begun to send, plus one
	sent                // how many sends have returned nil
	count               // entries written to the log
	drained             // entries the lab has taken out of it
	extra               // for the roles' own use
	where               // likewise
	words   = 16
)

// journal is what one child writes down.
type journal struct {
	*labs.Words[word]
	log []entry
}

const journalEntries = 1 << 14

func openJournal(path string) (*journal, error) {
	w, err := labs.OpenWords[word](path, words, journalEntries*int(unsafe.Sizeof(entry{})))
	if err != nil {
		return nil, err
	}
	// Rest is aligned to 8 bytes, as an entry is at most, and has just that many entries.
	return &journal{w, unsafe.Slice((*entry)(unsafe.Pointer(unsafe.SliceData(w.Rest))), journalEntries)}, nil
}

// add writes one entry, and waits while the log is full until the lab has caught up.
func (j *journal) add(e entry) {
	n := j.Get(count)
	for n-j.Get(drained) >= journalEntries {
		j.Await(drained, n-journalEntries+1, time.Second)
	}
	j.log[n%journalEntries] = e
	j.Put(count, n+1)
}

// drain calls f for what was added since the last time.
func (j *journal) drain(f func(entry)) {
	end := j.Get(count)
	from := j.Get(drained)
	if from == end {
		return
	}
	for n := from; n != end; n++ {
		f(j.log[n%journalEntries])
	}
	j.Set(drained, end)
}

// monotonic is the clock of entries.
func monotonic() int64 { return machine.Monotonic() }
