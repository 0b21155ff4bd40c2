package ring

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// handle is what both halves have.
type handle struct {
	gate
	segment
	bells
	participant
	adaptive adaptive
	crowded  atomic.Bool  // the peer was on the same processor in the last wait
	stalled  bool         // an unfinished claim is next: sleep in short pieces
	lookedAt atomic.Int64 // when a call that waits last asked Config.Check for its first sleep: sinceLoaded
	cfg      Config
	// outer, if not nil, is held around the present call by a Poller. The user's code is
	// called without it.
	outer *sync.Mutex
}

// participant is a handle's place among the participants of the ring.
type participant struct {
	index uint8
	base  Stats // the counters of this place before we had it
	att   Attachment
}

// Attachment tells what a handle found when it attached.
type Attachment struct {
	Index    int    // participant slot
	Epoch    uint32 // how often this slot has been taken, this time included
	TookOver bool   // the slot's former owner had died
}

// Attachment tells what this handle found when it attached.
func (p *participant) Attachment() Attachment { return p.att }

func (h *handle) init(v *layout.View, cfg Config) {
	h.segment.init(v)
	waking := time.Duration(0)
	if v.Config.Doorbell == layout.Poll {
		waking = napping
	}
	h.adaptive.start(waking)
	cfg.FirstSleep, cfg.MaxSleep = sleepBounds(cfg.FirstSleep, cfg.MaxSleep)
	h.cfg = cfg
}

// sleepBounds fills in what Config.FirstSleep and MaxSleep leave out.
func sleepBounds(first, most time.Duration) (time.Duration, time.Duration) {
	if first == 0 {
		first = DefaultFirstSleep
	}
	return first, max(first, most)
}

// count adds to one of the handle's counters in the segment.
func (h *handle) count(which layout.Counter, n uint64) {
	h.participants[h.index].Counters[which].Add(n)
	killpoint.At(killpoint.Counted)
}

// raise makes one of the handle's counters no less than n.
func (h *handle) raise(which layout.Counter, n uint64) {
	word := &h.participants[h.index].Counters[which]
	for was := word.Load(); was < n && !word.CompareAndSwap(was, n); was = word.Load() {
	}
}

// progressed notes the time, for people, where that costs little beside what is done there: behind
// a wake-up, when a producer asks how much room there is, and when counters are written.
func (h *handle) progressed() {
	if h.att.Epoch != 0 { // and is not in the place of somebody else
		h.participants[h.index].Progress.Store(time.Now().UnixNano())
	}
}

// asked notes how much was taken, in slots, when a producer loaded ReadPos to see how much room there
// is, which it does once in a ringful, or more often when the ring is nearly full.
func (h *handle) asked(used uint64) {
	h.raise(layout.HighWater, uint64(h.inSlots(min(used, h.span))))
	h.progressed()
}

// wrap is Config.Wrap.
func (h *handle) wrap(err error) error {
	if h.cfg.Wrap == nil {
		return err
	}
	return h.cfg.Wrap(err)
}

// corrupt closes the handle because of a word that no correct peer writes.
func (h *handle) corrupt(field string, pos, got uint64) error {
	return h.failWith(&CorruptError{field, pos, got})
}

// failWith closes the handle because of an error that is not wrapped yet.
func (h *handle) failWith(err error) error { return h.fail(h.wrap(err), h.stop) }

// stop sets a stop word and ends the calls of this handle that sleep with it, however
// they sleep.
func (h *handle) stop(word *atomic.Uint32) {
	word.Store(1)
	if h.sleepBell != nil {
		h.sleepBell.Stop(word)
	}
	if h.cfg.ParkingLot != nil {
		h.cfg.ParkingLot.Stop(word)
	}
}

// isLost reports that the bytes must not be touched any more.
func (h *handle) isLost() bool {
	return h.cfg.Check != nil && errors.Is(h.cfg.Check(), layout.ErrCorrupt)
}

// loaded is when this program was.
var loaded = time.Now()

// sinceLoaded is a time in nanoseconds, by a clock that nobody sets.
func sinceLoaded(now time.Time) int64 { return int64(now.Sub(loaded)) }

// checkOutside looks at the file, and then whether anybody is at the other end.
func (h *handle) checkOutside() error {
	err := h.checkFile()
	if err == nil && h.cfg.NoPeer != nil {
		err = h.cfg.NoPeer()
	}
	return err
}

// checkFile looks at the file.
func (h *handle) checkFile() error {
	if h.cfg.Check == nil {
		return nil
	}
	err := h.cfg.Check()
	if errors.Is(err, layout.ErrCorrupt) {
		return h.failWith(err) // the bytes must not be touched any more
	}
	return err
}

// callUser calls the user's code, which may do anything to the handle and to its Poller.
func (h *handle) callUser(f func()) {
	if outer := h.outer; outer != nil {
		outer.Unlock()
		defer outer.Lock()
	}
	f()
}

// MaxMessage is the longest message this ring takes, in bytes.
func (h *handle) MaxMessage() int { return h.maxMessage }

// Slots is how many slots the ring has.
func (h *handle) Slots() int { return int(h.slots.count) }
