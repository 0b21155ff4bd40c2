package ring

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
)

// The bell word: bit 0 says that somebody sleeps on the doorbell, bit 1 that somebody
// is parked, the rest counts rings.
//
//	sleeper                                     waker, right after it published
//	  announce: word |= its bit, remember word    (publish is a full barrier)
//	  look at the ring again        (B2)          load word             (B1)
//	  nothing: sleep while word is that           both bits clear: done, one load in all
//	                                              CAS word to bits clear, count+1; won: wake
//	                                              those whose bits were set; lost: once more
//
// The announcement and the publish are each followed by a load of what the other
// side stored. All four are sequentially consistent, so at least one of the loads
// sees the other's store: either the sleeper finds the data or the waker finds the
// sleeper. A C reader looks for a fence here: Go's atomic Or, Store and
// CompareAndSwap are one. Between looking and sleeping the kernel (of a lot: the
// sleeper, after it has got its place) compares the word once more, so a ring in
// between ends the sleep at once.
//
// A waker that loses its CAS to another waker is done. One that loses it to a sleeper
// whose bit came on top is not: that one may find what it waited for at its last look,
// and ring nobody. With the count unchanged this happens once at most, a word with one
// bit set can gain only one, so two tries are enough.
//
// The waker clears the bits before it wakes. If it is killed in between, nobody wakes
// the sleeper and no later waker sees the bit: that is what the cap on every sleep is
// for.

// sleeper is one side's end of its two bells.
type sleeper struct {
	sleepWord *atomic.Uint32
	sleepBell Bell
	ringWord  *atomic.Uint32
	ringBell  Bell
	alone     bool // nobody else sleeps on sleepWord, so its bits may be taken back
	stalled   bool // an unfinished claim is next: sleep in short pieces
	lotFailed atomic.Pointer[error]
}

// ring follows every publish and every release (B1).
func (c *core) ring() {
	if c.ringWord.Load()&layout.BellSleeping != 0 {
		c.wake()
	}
}

func (c *core) wake() { c.rouse(c.ringWord, c.ringBell) }

// rouse wakes everybody who sleeps on a word.
func (c *core) rouse(word *atomic.Uint32, bell Bell) {
	w, won := uint32(0), false
	for try := 0; try < 2 && !won; try++ {
		if w = word.Load(); w&layout.BellSleeping == 0 {
			return // somebody else rings, or the sleeper got up by itself
		}
		won = word.CompareAndSwap(w, (w+layout.BellCount)&^layout.BellSleeping)
	}
	if !won {
		return
	}
	killpoint.At(killpoint.BellCleared)
	if w&layout.BellSleeper != 0 && bell != nil {
		bell.Wake(w)
	}
	if w&layout.BellParked != 0 && c.cfg.ParkingLot != nil {
		c.cfg.ParkingLot.Wake()
	}
	killpoint.At(killpoint.Woken)
	c.count(layout.Wakes, 1)
}

// stop is how a blocked call of this handle is ended, however it sleeps.
func (c *core) stop(word *atomic.Uint32) {
	word.Store(1)
	if c.sleepBell != nil {
		c.sleepBell.Stop(word)
	}
	if c.cfg.ParkingLot != nil {
		c.cfg.ParkingLot.Stop(word)
	}
}

// threads is how many goroutines of this process sleep on doorbells, each of which
// takes a thread.
var threads atomic.Int32

// maxThreads bounds them, and so do the processors: a goroutine that blocks in a system
// call keeps its processor until the runtime notices, up to 20 ms later, and one has to
// be left for the others. A process with 10 000 threads is ended by the runtime. Tests
// change it.
var maxThreads int32 = 64

// parkAfter is how long a wait lasts before its sleeps are better spent in the lot. Each
// return from a blocking system call makes the runtime's monitor look around every 20 µs
// for some milliseconds, which costs 0.4 to 0.8 ms of processor time; a parked goroutine
// wakes for 0.15 ms.
const parkAfter = 100 * time.Millisecond

// takeThread reports whether a sleep may take a thread, which leaveThread gives back.
func takeThread() bool {
	if threads.Add(1) <= min(maxThreads, int32(runtime.GOMAXPROCS(0))-1) {
		return true
	}
	leaveThread()
	return false
}

func leaveThread() { threads.Add(-1) }

// canPark reports whether this handle can use the lot.
func (c *core) canPark() bool {
	if c.cfg.ParkingLot == nil || c.lotFailed.Load() != nil {
		return false
	}
	if err := c.cfg.ParkingLot.Open(); err != nil {
		c.lotFailed.Store(&err)
		return false
	}
	return true
}

// sleep announces, looks again and sleeps, once and for at most limit. waited is how long
// this wait has lasted.
func (c *core) sleep(limit, waited time.Duration, ready func() bool, stops []*atomic.Uint32) error {
	bit := layout.BellSleeper
	thread := waited < parkAfter && takeThread()
	if !thread {
		if c.canPark() {
			bit = layout.BellParked
		} else {
			threads.Add(1)
			thread = true
			runtime.Gosched() // let those go first who can, before we take the processor with us
		}
	}
	if thread {
		defer leaveThread()
	}
	c.count(layout.Sleeps, 1)
	key := c.sleepWord.Or(bit) | bit
	killpoint.At(killpoint.Announced)
	if ready() { // B2
		c.unannounce(key)
		return nil
	}
	var timedOut bool
	var err error
	begin := time.Now()
	if bit == layout.BellParked {
		timedOut = c.cfg.ParkingLot.Sleep(c.sleepWord, key, limit, stops)
	} else {
		timedOut, err = c.sleepBell.Sleep(key, limit, stops)
	}
	c.count(layout.Asleep, uint64(time.Since(begin)))
	if err != nil {
		return err
	}
	switch {
	case ready():
		if timedOut {
			c.countRescue(key)
		}
	case !timedOut:
		c.count(layout.SpuriousWakeups, 1)
	}
	c.unannounce(key)
	return nil
}

// unannounce takes the sleeping bits back where nobody else can have set them.
// Producers share theirs: one that got up must not silence the bell for those still
// asleep.
func (c *core) unannounce(key uint32) {
	if c.alone {
		c.sleepWord.CompareAndSwap(key, key&^layout.BellSleeping)
		killpoint.At(killpoint.Unannounced)
	}
}

// countRescue counts a sleep that ran out though there was something to do. A waker that
// has published may be between that and the bell: it gets a millisecond. One that has
// cleared the bit and not woken us is about to, or was killed there.
func (c *core) countRescue(key uint32) {
	for begin := time.Now(); time.Since(begin) < time.Millisecond; spin.Yield() {
		if c.sleepWord.Load() != key {
			c.count(layout.LateWakeups, 1)
			return
		}
	}
	c.count(layout.TimeoutWakeups, 1)
}
