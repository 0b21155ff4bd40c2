package ring

import (
	"cmp"
	"os"
	"slices"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// Event is something in the life of a ring, as somebody wrote it down.
type Event struct {
	Seq         uint64 // its number, from 1 on
	Time        int64  // nanoseconds since 1970
	Kind        layout.EventKind
	Participant int // slot
	Epoch       uint32
	Fate        layout.Fate // where it has to do with one
	PID         int         // of the participant; 0: not known
	By          int         // pid of who wrote it down
	Position    uint64
}

// record writes down what has happened to a participant. Several may write at the same time,
// each in a place of its own unless a hundred come in between, and any may be killed at it:
// then its place holds no event until it is used again.
func (s *segment) record(k layout.EventKind, i int, f layout.Fate, pos uint64) {
	m := &s.participants[i]
	n := s.hot.Events.Add(1)
	e := &s.events[n%layout.Events]
	e.Seq.Store(0)
	killpoint.At(killpoint.EventBegun)
	e.Time.Store(time.Now().UnixNano())
	e.What.Store(layout.PackEvent(k, uint8(i), f, m.Epoch.Load()))
	e.Pos.Store(pos)
	e.PID.Store(m.PID.Load())
	e.By.Store(uint32(os.Getpid()))
	e.Seq.Store(n)
	killpoint.At(killpoint.EventStored)
}

// RecordCreation writes down that a ring was created, by this process.
func RecordCreation(v *layout.View) {
	var s segment
	s.init(v)
	s.record(layout.EventCreated, layout.ConsumerIndex, 0, 0)
}

// RecordOrphan writes down that a participant has found that the ring has lost its name.
func RecordOrphan(v *layout.View, participant int) {
	var s segment
	s.init(v)
	s.record(layout.EventOrphaned, participant, 0, 0)
}

// Events returns the events that a segment has kept, the oldest first. Numbers that are
// missing are of writers that were killed, or are at it.
func Events(v *layout.View) []Event {
	var list []Event
	for i := range v.Events {
		at := &v.Events[i]
		seq := at.Seq.Load()
		w := at.What.Load()
		e := Event{
			Seq: seq, Time: at.Time.Load(), Kind: w.Kind(), Participant: int(w.Participant()), Epoch: w.Epoch(),
			Fate: w.Fate(), PID: int(at.PID.Load()), By: int(at.By.Load()), Position: at.Pos.Load(),
		}
		if seq != 0 && at.Seq.Load() == seq {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b Event) int { return cmp.Compare(a.Seq, b.Seq) })
	return list
}
