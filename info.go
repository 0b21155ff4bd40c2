package shmring

import (
	"time"

	"github.com/shmring/shmring/shm"
)

// Info tells what opening a ring did and found.
type Info struct {
	Name string // of a sealed ring "memfd:NAME"
	Path string // likewise
	Size int64  // bytes

	Created   bool // this call made the ring
	TookOver  bool // the participant before us in this role had died without leaving
	Recovered bool // nobody else is alive, and somebody had died without leaving

	Kind         Kind
	Slots        int
	SlotSize     int
	MaxMessage   int
	MaxProducers int
	UUID         [16]byte // differs for each ring that was ever created; see Resize
	Doorbell     Doorbell // how sleepers are woken
	// SpinFor is how long this handle spins before it sleeps. Negative: for ever.
	SpinFor time.Duration
	// Refused are the doorbells that would have been better and do not work here, if this
	// call made the ring and had the choice.
	Refused []Refusal

	// Locks is the kind of locks by which a ring's users tell who is alive, "ofd" or "flock".
	Locks string

	Participant int    // our slot in the table of participants
	Epoch       uint32 // how often that slot has been taken
	Applied     Applied
}

// Refusal is a doorbell that does not work here, and why.
type Refusal struct {
	Doorbell Doorbell
	Err      error
}

// Applied tells how a ring's file was made, which is empty for a ring that was opened, and
// what became of requests that may be refused.
type Applied struct {
	TmpFile   bool   // the file was made without a name (O_TMPFILE) and linked when complete
	Allocated string // the call that made the pages exist: "fallocate" or "pwrite"
	NoOFD     error  // why the ring does not have OFD locks, if this call chose
	Prefault  Outcome
	HugePages Outcome
	Mlock     Outcome
}

// Outcome is what became of a request that may be refused. The zero value: nobody asked.
type Outcome struct {
	Asked bool
	How   string // the means that worked, or the last one tried
	Err   error  // nil, or why it did not work
}

// Applied reports whether the request was made and granted.
func (o Outcome) Applied() bool { return o.Asked && o.Err == nil }

// String returns "not asked", "applied (HOW)" or "failed (HOW): WHY".
func (o Outcome) String() string { return shm.Outcome(o).String() }

func appliedOf(a shm.Applied) Applied {
	return Applied{a.TmpFile, a.Allocated, a.NoOFD, Outcome(a.Prefault), Outcome(a.HugePages), Outcome(a.Mlock)}
}
