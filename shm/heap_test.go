package shm_test

import (
	"io/fs"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/shm"
)

func TestHeapReopenSharesBytes(t *testing.T) {
	a := shm.Heap(64)
	b, err := a.Reopen()
	require.NoError(t, err)
	a.Bytes()[63] = 7
	require.Equal(t, byte(7), b.Bytes()[63])
	require.Equal(t, "heap", b.Name())
	require.Empty(t, b.Path())
	require.NoError(t, b.Check())
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

// checkLocks is the contract of lock bytes between two handles of one segment,
// whatever the segment is made of. It closes both.
func checkLocks(t *testing.T, a, b *shm.Segment) {
	t.Helper()
	lock := func(s *shm.Segment, i int) bool {
		ok, err := s.TryLock(i)
		require.NoError(t, err)
		return ok
	}
	held := func(s *shm.Segment, i int) bool {
		ok, err := s.Held(i)
		require.NoError(t, err)
		return ok
	}
	require.False(t, held(a, 3))
	require.True(t, lock(a, 3))
	require.False(t, lock(b, 3), "held by a")
	require.True(t, held(b, 3))
	require.False(t, held(a, 3), "a holds it itself")
	require.False(t, held(b, 2), "neighbours are free")
	require.False(t, held(b, 4))
	require.True(t, lock(b, 4))

	_, err := a.TryLock(3)
	require.ErrorIs(t, err, shm.ErrHeld)
	require.ErrorIs(t, a.Unlock(4), shm.ErrNotHeld)
	require.True(t, held(a, 4), "an Unlock refused changes nothing")

	require.NoError(t, a.Unlock(3))
	require.True(t, lock(b, 3))
	require.True(t, lock(a, 5))
	require.NoError(t, a.Close())
	require.True(t, lock(b, 5), "Close drops the locks")

	for _, i := range []int{-1, -1 << 31} {
		_, err := b.TryLock(i)
		require.ErrorIs(t, err, fs.ErrInvalid)
		_, err = b.Held(i)
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorIs(t, b.Unlock(i), fs.ErrInvalid)
	}
	require.NoError(t, b.Close())
}

func TestHeapLocks(t *testing.T) {
	a := shm.Heap(1)
	b, err := a.Reopen()
	require.NoError(t, err)
	checkLocks(t, a, b)
}

// checkClosed is what every method of a closed segment answers.
func checkClosed(t *testing.T, s *shm.Segment) {
	t.Helper()
	require.NoError(t, s.Close(), "Close is idempotent")
	_, err := s.TryLock(0)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = s.Held(0)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = s.Reopen()
	require.ErrorIs(t, err, fs.ErrClosed)
	require.ErrorIs(t, s.Unlock(0), fs.ErrClosed)
	require.ErrorIs(t, s.Check(), fs.ErrClosed)
}

func TestHeapClosed(t *testing.T) {
	s := shm.Heap(1)
	require.NoError(t, s.Close())
	checkClosed(t, s)
}

func TestHeapLastWord(t *testing.T) {
	a := shm.Heap(8)
	b, err := a.Reopen()
	require.NoError(t, err)
	ok, err := a.TryLock(0)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, a.CloseWith(func(mem []byte, _ func()) {
		mem[7] = 3
		ok, err := b.TryLock(0)
		require.NoError(t, err)
		require.False(t, ok, "the lock goes after the last word")
	}))
	require.Equal(t, byte(3), b.Bytes()[7])
	ok, err = b.TryLock(0)
	require.NoError(t, err)
	require.True(t, ok)
}

// A lock of a heap segment orders memory, so that -race accepts a hand-over by it.
func TestHeapLockHandsOver(t *testing.T) {
	first := shm.Heap(8)
	const handles, rounds = 4, 200
	var wg sync.WaitGroup
	for range handles {
		s, err := first.Reopen()
		require.NoError(t, err)
		wg.Go(func() {
			for done := 0; done < rounds; {
				if ok, err := s.TryLock(0); err != nil || !ok {
					continue
				}
				s.Bytes()[0]++
				s.Bytes()[1] += s.Bytes()[0] & 1
				done++
				if s.Unlock(0) != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, byte(handles*rounds%256), first.Bytes()[0])
}
