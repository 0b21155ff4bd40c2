package doorbell

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
)

// sysvBell sleeps behind doors; the package comment has the protocol.
type sysvBell struct {
	word  *atomic.Uint32
	first int // of the doors of this word
	set   semset
	seg   Segment

	mu    sync.Mutex
	stops map[*atomic.Uint32]int // how many goroutines sleep that were given the stop word
}

var _ Bell = (*sysvBell)(nil)

// patience of New while another process makes the set. It is not needed: the first who
// sleeps would find or make one.
const patience = 100 * time.Millisecond

// busyNap is how long a sleeper without a set naps while another process makes it.
const busyNap = time.Millisecond

func newSysV(at Target) (Bell, error) {
	if at.View == nil || at.Segment == nil {
		return nil, fmt.Errorf("%w: sysv: Target without View and Segment", ErrUnavailable)
	}
	b := sysvWaker(at)
	for begin := time.Now(); ; time.Sleep(busyNap) {
		done, err := b.set.establish(b.seg)
		if err != nil {
			return nil, err
		}
		if done || time.Since(begin) > patience {
			return b, nil
		}
	}
}

// sysvWaker is a bell whose set nobody has looked for.
func sysvWaker(at Target) *sysvBell {
	b := &sysvBell{word: at.Word, seg: at.Segment, stops: map[*atomic.Uint32]int{}}
	if at.Word == &at.View.Hot.SpaceBell {
		b.first = spaceDoors
	}
	b.set.init(at.View.Config, at.Inode, &at.View.Hot.Semaphores)
	return b
}

func (b *sysvBell) Kind() layout.Doorbell { return layout.SysV }

// door is that of the round in which the word had a value.
func (b *sysvBell) door(word uint32) int { return b.first + int(word/layout.BellCount%doors) }

func (b *sysvBell) Sleep(old uint32, limit time.Duration, stops []*atomic.Uint32) (bool, error) {
	begin := time.Now()
	b.enter(stops)
	defer b.leave(stops)
	due := func() bool { return b.word.Load() != old || stopped(stops) }
	if due() { // 1
		return false, nil
	}
	if limit <= 0 {
		return true, nil
	}
	set, ok := b.set.current()
	if !ok {
		return b.without(begin, limit)
	}
	door := b.door(old)
	if e := b.move(set, door, 1); e != 0 { // 2
		return b.lost(e, set, begin, limit)
	}
	killpoint.At(killpoint.DoorClosed)
	for {
		// A waker looks for the set after it has changed the word, and so uses this one, or
		// a later one, of which we see here.
		if due() || b.set.at.Set.Load() != set { // 3
			b.move(set, door, 0)
			return false, nil
		}
		left := limit - time.Since(begin)
		if left <= 0 {
			return true, nil
		}
		switch e := sys.wait(set.ID(), door, left); e { // 4
		case 0:
			return false, nil
		case unix.EAGAIN:
			return true, nil
		case unix.EINTR:
		default:
			return b.lost(e, set, begin, limit)
		}
	}
}

// move opens (0) or closes (1) a door.
func (b *sysvBell) move(set layout.SemaphoreSet, door, to int) unix.Errno {
	_, e := sys.ctl(set.ID(), door, cmdSetVal, to)
	return e
}

// lost is what a sleeper does whose set fails.
func (b *sysvBell) lost(e unix.Errno, set layout.SemaphoreSet, begin time.Time, limit time.Duration) (bool, error) {
	b.set.forget(set)
	switch e {
	case unix.EIDRM, unix.EINVAL: // somebody has removed it
		return b.without(begin, limit)
	}
	return false, &SetError{"use", b.set.at.Key.Load(), e}
}

// without is for a sleeper that finds no set: it makes one, or waits a moment for who is
// at it. It does not sleep then: the caller looks at the ring again, and comes back.
func (b *sysvBell) without(begin time.Time, limit time.Duration) (bool, error) {
	done, err := b.set.establish(b.seg)
	if err != nil {
		return false, err
	}
	if !done {
		time.Sleep(min(busyNap, limit-time.Since(begin)))
	}
	return time.Since(begin) >= limit, nil
}

func (b *sysvBell) Wake(was uint32) {
	if set, ok := b.set.current(); ok && b.move(set, b.door(was), 0) != 0 {
		b.set.forget(set) // its sleepers are awake
	}
}

// Stop opens all doors, since it does not know who sleeps behind which, until those it is
// meant for are up: between their look at the stop word and their sleep, others, who are
// not meant, may close a door again.
func (b *sysvBell) Stop(stop *atomic.Uint32) {
	stop.Store(1)
	for tries := 0; b.asleep(stop); tries++ {
		set, ok := b.set.current()
		if !ok { // a peer has spoiled what the segment says, or its file: they sleep where they did
			set, ok = b.set.last()
		}
		for i := 0; ok && i < doors; i++ {
			if b.move(set, b.first+i, 0) != 0 {
				b.set.forget(set)
				break
			}
		}
		if tries < 10 {
			spin.Yield()
		} else {
			time.Sleep(busyNap)
		}
	}
}

func (b *sysvBell) enter(stops []*atomic.Uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range stops {
		b.stops[s]++
	}
}

func (b *sysvBell) leave(stops []*atomic.Uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range stops {
		if b.stops[s]--; b.stops[s] == 0 {
			delete(b.stops, s)
		}
	}
}

func (b *sysvBell) asleep(stop *atomic.Uint32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stops[stop] > 0
}

// sysvRefused tells why SysV semaphores do not work here. The answer is found once.
var sysvRefused = sync.OnceValue(trySysV)

// The set that is tried has an unusual number of semaphores, and its key begins with
// "sh" in ASCII.
const (
	trialKey  = 0x73680000
	trialSize = 3
)

// trySysV makes, uses and removes a set. All processes of a user try the same one, so
// that who is killed meanwhile leaves at most one, which the next one removes. So others
// may move its values, or remove it, which is no reason to complain.
func trySysV() error {
	id, e := sys.get(int32(trialKey|unix.Geteuid()&0xffff), trialSize, unix.IPC_CREAT|0o600)
	larger := false
	if e == 0 {
		_, none := sys.ctl(id, trialSize, cmdGetVal, 0)
		larger = none == 0
	}
	if larger || e == unix.EACCES || e == unix.EINVAL { // somebody else's
		id, e = sys.get(unix.IPC_PRIVATE, trialSize, unix.IPC_CREAT|0o600)
	}
	if e != 0 {
		return fmt.Errorf("semget: %w", e)
	}
	defer sys.ctl(id, 0, unix.IPC_RMID, 0)
	for _, value := range []int{1, 0} {
		if _, e := sys.ctl(id, 0, cmdSetVal, value); tells(e) {
			return fmt.Errorf("semctl: %w", e)
		}
		if e := sys.wait(id, 0, time.Microsecond); tells(e) {
			return fmt.Errorf("semtimedop: %w", e)
		}
	}
	return nil
}

// tells reports whether the error says something about the system.
func tells(e unix.Errno) bool {
	switch e {
	case 0, unix.EAGAIN, unix.EINTR, unix.EIDRM, unix.EINVAL:
		return false
	}
	return true
}
