package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/futex"
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

// journal is memory that the lab and one child share. It outlives the child.
type journal struct {
	path string
	mem  []byte
	word *[words]atomic.Uint64
	log  []entry
}

const journalEntries = 1 << 14

const journalSize = int(unsafe.Sizeof([words]atomic.Uint64{}) + journalEntries*unsafe.Sizeof(entry{}))

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
	// A mapping is aligned to a page and as long as the two parts together; no part of it
	// is used after close.
	base := unsafe.Pointer(unsafe.SliceData(mem))
	return &journal{
		path: path,
		mem:  mem,
		word: (*[words]atomic.Uint64)(base),
		log:  unsafe.Slice((*entry)(unsafe.Add(base, unsafe.Sizeof([words]atomic.Uint64{}))), journalEntries),
	}, nil
}

func (j *journal) close() { _ = unix.Munmap(j.mem) }

// low is the futex half of a word: on little-endian machines the first four bytes.
func (j *journal) low(w word) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&j.word[w]))
}

func (j *journal) get(w word) uint64 { return j.word[w].Load() }

// put stores without waking anybody: for words that are read after the fact.
func (j *journal) put(w word, v uint64) { j.word[w].Store(v) }

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

// add writes one entry, and waits while the log is full until the lab has caught up.
func (j *journal) add(e entry) {
	n := j.get(count)
	for n-j.get(drained) >= journalEntries {
		j.await(drained, n-journalEntries+1, time.Second)
	}
	j.log[n%journalEntries] = e
	j.put(count, n+1)
}

// drain calls f for what was added since the last time.
func (j *journal) drain(f func(entry)) {
	end := j.get(count)
	from := j.get(drained)
	if from == end {
		return
	}
	for n := from; n != end; n++ {
		f(j.log[n%journalEntries])
	}
	j.set(drained, end)
}

// monotonic is the clock of entries.
func monotonic() int64 { return machine.Monotonic() }
