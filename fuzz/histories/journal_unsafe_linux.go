package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/futex"
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
	number   uint16 // loan, or at most how many
	what     what
	op       uint8
	id       uint8
	answer   uint8
	flags    uint8
}

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

// journal is memory that the lab and one child share. It outlives the child.
type journal struct {
	path string
	mem  []byte
	word *[words]atomic.Uint64
	text []byte // the child's part in the next history, as a length and JSON
	log  []event
}

const (
	wordsSize   = int(unsafe.Sizeof([words]atomic.Uint64{}))
	journalSize = wordsSize + maxText + maxEvents*int(unsafe.Sizeof(event{}))
)

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(int64(journalSize)); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, journalSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("journal %s: %w", path, err)
	}
	// A mapping is aligned to a page and as long as the three parts together; no part of it
	// is used after close.
	base := unsafe.Pointer(unsafe.SliceData(mem))
	return &journal{
		path: path,
		mem:  mem,
		word: (*[words]atomic.Uint64)(base),
		text: mem[wordsSize : wordsSize+maxText],
		log:  unsafe.Slice((*event)(unsafe.Add(base, wordsSize+maxText)), maxEvents),
	}, nil
}

func (j *journal) close() { _ = unix.Munmap(j.mem) }

// low is the futex half of a word: on little-endian machines the first four bytes.
func (j *journal) low(w word) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&j.word[w]))
}

func (j *journal) get(w word) uint64 { return j.word[w].Load() }

// set stores and wakes whoever awaits the word.
func (j *journal) set(w word, v uint64) {
	j.word[w].Store(v)
	_ = futex.WakeAll(j.low(w))
}

// await returns when the word is at least v; false after the limit.
func (j *journal) await(w word, v uint64, limit time.Duration) bool {
	for end := time.Now().Add(limit); ; {
		now := j.low(w).Load()
		if j.get(w) >= v {
			return true
		}
		left := time.Until(end)
		if left <= 0 {
			return false
		}
		_, _ = futex.Wait(j.low(w), now, left)
	}
}

// add appends an event. The store of the count is a full barrier: an event of which the lab
// knows was there before anything the child did later, and the time in it was taken before.
func (j *journal) add(e event) {
	n := j.get(logged)
	if n == maxEvents {
		panic("the journal is full")
	}
	j.log[n] = e
	j.word[logged].Store(n + 1)
}
