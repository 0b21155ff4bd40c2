package ring

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
)

// The bell word: bit 0 says that somebody sleeps on the doorbell, bit 1 that somebody is
// parked, bits 2 to 29 count notifications. Bit 30 is said below, BellFences. Bit 31 is the SPSC
// consumer's, see backoff.go, and has no part in this.
//
//	sleeper                                     notifier, right after it published
//	  announce: word |= its bit, remember word    (publish is a full barrier)
//	  look at the ring again        (B2)          load word             (B1)
//	  nothing: sleep while word is that           both bits clear: done, one load in all
//	                                              CAS word to bits clear, count+1; won: wake
//	                                              those whose bits were set; lost: once more
//
// The announcement and the publish are each followed by a load of what the other side
// stored. All four are sequentially consistent, so at least one of the loads sees the
// other's store: either the sleeper finds the data or the notifier finds the sleeper. A C
// reader looks for a fence here: Go's atomic Or, Store and CompareAndSwap are one. A
// producer may do without, where BellFences says that the consumer has the system do a
// barrier on every processor that runs producers (Config.Barrier), behind the announcement
// and before its second look: a publish before that is visible to the look, and one after it is
// followed by a load that sees the announcement. (That barrier may miss a processor: see lookAgain.) Between
// looking and sleeping the kernel (of the parking lot: the sleeper, once it has its place)
// compares the word once more, so a notification in between ends the sleep at once.
//
// A notifier that loses its CAS to another notifier is done. One that loses it to a sleeper
// whose bit came on top is not: that sleeper may find what it waited for at its last look
// and notify nobody. With the count unchanged this happens once at most, because a word
// with one bit set can gain only one. So two tries are enough.
//
// The notifier clears the bits before it wakes. If it is killed in between, nobody wakes
// the sleeper and no later notifier sees the bit. The bound on every sleep is for that.

// bells are one side's end of the two bells of a ring.
type bells struct {
	sleepWord  *atomic.Uint32
	sleepBell  Bell
	notifyWord *atomic.Uint32
	notifyBell Bell
	sleepAlone bool   // nobody else sleeps on sleepWord, so its bits may be taken back
	fences     bool   // whoever sleeps on sleepWord fences, as BellFences promises
	mayFence   bool   // and can
	weigh      func() // of who may: called before each announcement
	lotFailed  atomic.Pointer[error]
}

// notify follows every publish and every release (B1).
func (h *handle) notify() {
	if h.notifyWord.Load()&layout.BellSleeping != 0 {
		h.wakePeer()
	}
}

func (h *handle) wakePeer() {
	h.locate() // for its next wait: it is us that it waits for
	h.wakeAll(h.notifyWord, h.notifyBell)
}

// wakeAll wakes everybody who sleeps on a word.
func (h *handle) wakeAll(word *atomic.Uint32, bell Bell) {
	w, won := uint32(0), false
	for try := 0; try < 2 && !won; try++ {
		if w = word.Load(); w&layout.BellSleeping == 0 {
			return // somebody else notifies, or the sleeper got up by itself
		}
		won = word.CompareAndSwap(w, layout.Rung(w))
	}
	if !won {
		return
	}
	killpoint.At(killpoint.BellCleared)
	if w&layout.BellSleeper != 0 && bell != nil {
		bell.Wake(w)
	}
	if w&layout.BellParked != 0 && h.cfg.ParkingLot != nil {
		h.cfg.ParkingLot.Wake()
	}
	killpoint.At(killpoint.Woken)
	h.count(layout.Wakes, 1)
	h.progressed()
}

// threads is how many goroutines of this process sleep on doorbells. Each takes a thread.
var threads atomic.Int32

// maxThreads bounds them, and so do the processors: a goroutine that blocks in a system
// call keeps its processor until the runtime notices, up to 20 ms later, and one has to
// be left for the others. The runtime ends a process with 10 000 threads. Tests change it.
var maxThreads int32 = 64

// parkAfter is how long a wait lasts before its sleeps are better parked. Each return from
// a blocking system call makes the runtime's monitor look around every 20 µs for some
// milliseconds, which costs 0.4 to 0.8 ms of processor time; a parked goroutine wakes for
// 0.15 ms.
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

// openParkingLot reports whether this handle can use the parking lot, which it opens.
func (h *handle) openParkingLot() bool {
	if h.cfg.ParkingLot == nil || h.lotFailed.Load() != nil {
		return false
	}
	if err := h.cfg.ParkingLot.Open(); err != nil {
		h.lotFailed.Store(&err)
		return false
	}
	return true
}

// sleep announces, looks again and sleeps, once and for at most limit. waited is how long
// this wait has lasted; held is that of wait: a sleep that runs out is no missed wake-up then.
func (h *handle) sleep(limit, waited time.Duration, held bool, ready func() bool, stops []*atomic.Uint32) error {
	bit := layout.BellSleeper
	thread := waited < parkAfter && !h.cfg.Park && takeThread()
	if !thread {
		if h.openParkingLot() {
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
	h.count(layout.Sleeps, 1)
	key := h.announce(bit)
	if h.lookAgain(ready) { // B2
		h.withdraw(key)
		return nil
	}
	var timedOut bool
	var err error
	begin := time.Now()
	if bit == layout.BellParked {
		timedOut = h.cfg.ParkingLot.Sleep(h.sleepWord, key, limit, stops)
	} else {
		timedOut, err = h.sleepBell.Sleep(key, limit, stops)
	}
	h.count(layout.Asleep, uint64(time.Since(begin)))
	if err != nil {
		if lost := h.checkOutside(); h.Closed() {
			return lost // that is why the system refuses
		}
		return err
	}
	switch {
	case ready():
		if timedOut && !held {
			h.countTimeoutWakeup(key)
		}
	case !timedOut:
		h.count(layout.SpuriousWakeups, 1)
	}
	h.withdraw(key)
	return nil
}

// announce says in the bell word that somebody sleeps, and returns the word.
func (h *handle) announce(bit uint32) (key uint32) {
	if h.weigh != nil {
		h.weigh()
	}
	key = h.sleepWord.Or(bit) | bit
	killpoint.At(killpoint.Announced)
	if h.fences && h.cfg.Barrier.Fence() != nil {
		h.mayFence = false
		h.withdrawFences()
	}
	return key
}

// promiseFences tells producers that whoever sleeps here fences for them.
func (h *handle) promiseFences() {
	h.fences = true
	h.sleepWord.Or(layout.BellFences)
}

// withdrawFences takes that back, also for a predecessor. A producer sees it at its next look at
// the bell. If it has looked before, what it has published before that may still be in its processor's
// store buffer, so one fence more is due.
func (h *handle) withdrawFences() {
	h.fences = false
	if h.sleepWord.And(^layout.BellFences)&layout.BellFences == 0 {
		return
	}
	h.mayFence = h.fence() && h.mayFence
}

// settled is how long a store takes to become visible that Config.Barrier has missed. The longest seen in a program of
// C was 4 µs, of one behind 200 others to lines that no cache had, but for two in 10⁶ with 20 µs. Behind 48 such stores
// and 10 µs one sleep in 2 × 10⁵ missed a message, and none in 3 × 10⁶ behind 40.
const settled = 40 * time.Microsecond

// lookAgain is the look behind an announcement (B2). Where that leans on Config.Barrier it goes on until what a
// processor that was missed has held back is visible.
func (h *handle) lookAgain(ready func() bool) bool {
	return ready() || h.fences && settle(ready)
}

// settle looks until it is so, or nothing is on its way any more.
func settle(ready func() bool) bool {
	for begun := time.Now(); time.Since(begun) < settled; spin.Pause() {
		if ready() {
			return true
		}
	}
	return ready()
}

// fence has Config.Barrier do its part, and waits until what that has missed is visible; or it waits for what nobody
// has seen to, and is false.
func (h *handle) fence() bool {
	if h.cfg.Barrier == nil || h.cfg.Barrier.Fence() != nil {
		storesLeave()
		return false
	}
	settle(func() bool { return false })
	return true
}

// fenceAll is fence that misses nobody, for what no bound would make up for.
func (h *handle) fenceAll() {
	if h.cfg.Barrier == nil || h.cfg.Barrier.FenceAll() != nil {
		storesLeave()
	}
}

// storesLeave waits until what somebody has stored plainly is visible, for who cannot have a barrier done. Nobody knows
// how long a store takes to leave, but a millisecond is many times as long. (A processor that is
// taken from the producer meanwhile empties its buffer at once.)
func storesLeave() { time.Sleep(time.Millisecond) }

// withdraw takes an announcement back where nobody else can have made it. Producers of an
// MPSC ring share theirs: one that got up must not silence the bell for those who still
// sleep.
func (h *handle) withdraw(key uint32) {
	if h.sleepAlone {
		h.sleepWord.CompareAndSwap(key, key&^layout.BellSleeping)
		killpoint.At(killpoint.Unannounced)
	}
}

// countTimeoutWakeup counts a sleep that ran out though there was something to do. A peer
// that has published may be between that and the bell: it gets a millisecond. One that has
// cleared the bit and not woken us is about to, or was killed there.
func (h *handle) countTimeoutWakeup(key uint32) {
	for begin := time.Now(); time.Since(begin) < time.Millisecond; spin.Yield() {
		if h.sleepWord.Load() != key {
			h.count(layout.LateWakeups, 1)
			return
		}
	}
	h.count(layout.TimeoutWakeups, 1)
}
