package doorbell_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
)

// first calls f before the first system call of that name.
func first(t *testing.T, name string, f func()) {
	var done atomic.Bool
	doorbell.BeforeCall(t, func(call string) unix.Errno {
		if call == name && !done.Swap(true) {
			f()
		}
		return 0
	})
}

// The sleeper closes its door after the waker has opened it: it opens it again, because
// another sleeper of that round may come to it yet.
func TestLateDoorIsOpenedAgain(t *testing.T) {
	m := sysv(t)
	b := m.bell(t, false)
	const round = 5
	word := &m.view.Hot.DataBell
	word.Store(asleep(round))
	first(t, "SETVAL", func() { ring(b, word) })
	timedOut, err := b.Sleep(asleep(round), long, nil)
	require.NoError(t, err)
	require.False(t, timedOut)
	require.Zero(t, doorbell.Value(m.set().ID(), round))
}

// A stop between the first look and the closing of the door is seen without anybody's help.
func TestStopBeforeTheDoorIsClosed(t *testing.T) {
	m := sysv(t)
	b := m.bell(t, false)
	stop := new(atomic.Uint32)
	first(t, "SETVAL", func() { stop.Store(1) })
	timedOut, err := b.Sleep(0, long, []*atomic.Uint32{stop})
	require.NoError(t, err)
	require.False(t, timedOut)
}

// Another sleeper of the round shuts in one whose stop has opened the doors already.
func TestStopIsRepeated(t *testing.T) {
	m := sysv(t)
	b := m.bell(t, false)
	const round = 5
	m.view.Hot.DataBell.Store(asleep(round))
	stop := new(atomic.Uint32)
	var wg sync.WaitGroup
	door := func() int { return doorbell.Value(m.set().ID(), round) }
	first(t, "semtimedop", func() {
		wg.Go(func() { b.Stop(stop) })
		for begin := time.Now(); door() != 0 && time.Since(begin) < time.Second; {
			time.Sleep(10 * time.Microsecond)
		}
		if err := doorbell.SetValue(m.set().ID(), round, 1); err != nil {
			t.Error(err)
		}
	})
	timedOut, err := b.Sleep(asleep(round), long, []*atomic.Uint32{stop})
	require.NoError(t, err)
	require.False(t, timedOut)
	wg.Wait()
}

// A signal in the middle: what is left of the limit is slept, and a change is seen.
func TestInterruptedSleep(t *testing.T) {
	m := sysv(t)
	b := m.bell(t, false)
	n := 0
	doorbell.BeforeCall(t, func(call string) unix.Errno {
		if call != "semtimedop" {
			return 0
		}
		n++
		if n == 5 {
			m.view.Hot.DataBell.Store(asleep(1))
		}
		time.Sleep(time.Millisecond)
		return unix.EINTR
	})
	timedOut, err := b.Sleep(0, 3*time.Millisecond, nil)
	require.NoError(t, err)
	require.True(t, timedOut)
	require.Less(t, n, 5)
	_, err = b.Sleep(0, long, nil)
	require.NoError(t, err)
	require.Equal(t, 5, n)
}

// The two bells of a segment do not ring for each other.
func TestBellsHaveTheirOwnDoors(t *testing.T) {
	m := sysv(t)
	data, space := m.bell(t, false), m.bell(t, true)
	first(t, "semtimedop", func() {
		data.Wake(0)
		data.Stop(new(atomic.Uint32))
	})
	timedOut, err := space.Sleep(0, 5*time.Millisecond, nil)
	require.NoError(t, err)
	require.True(t, timedOut)
}

// A set is replaced between the look at it and the sleep: the sleeper does not sleep on
// the old one, of which wakers do not know any more.
func TestSetIsReplacedUnderSleeper(t *testing.T) {
	m := sysv(t)
	b := m.bell(t, false)
	sems := &m.view.Hot.Semaphores
	first(t, "SETVAL", func() { sems.Set.Store(layout.PackSemaphoreSet(7, m.set().ID())) })
	timedOut, err := b.Sleep(0, long, nil)
	require.NoError(t, err)
	require.False(t, timedOut)
}

// A set with our nonce and more semaphores than ours is not ours.
func TestLargerSetWithTheNonce(t *testing.T) {
	m := sysv(t)
	m.bell(t, false)
	ours := m.set()
	const key = 0x7654327
	stranger, err := doorbell.MakeSet(key, doorbell.SetSize+3)
	require.NoError(t, err)
	defer doorbell.RemoveSet(stranger)
	for num := range doorbell.SetSize {
		require.NoError(t, doorbell.SetValue(stranger, num, doorbell.Value(ours.ID(), num)))
	}
	m.view.Hot.Semaphores.Set.Store(layout.PackSemaphoreSet(1, stranger))
	m.bell(t, false)
	require.Equal(t, ours.ID(), m.set().ID())
	m.view.Hot.Semaphores.Set.Store(layout.PackSemaphoreSet(1, stranger))
	m.remove(t)
	require.Contains(t, sets(t, key), stranger)
}
