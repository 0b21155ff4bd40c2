package shm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/shm"
)

func TestClosed(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)
	require.NoError(t, s.Close())
	checkClosed(t, s)
	require.Empty(t, shm.OpenUnder(dir))
	require.Empty(t, shm.MappedUnder(dir), "only the address range is left")
}

func TestCloseShowsPrivateZeros(t *testing.T) {
	dir := shm.ScratchDir(t)
	s, other := mustCreate(t, dir, patternSize), mustOpen(t, dir)
	mem := s.Bytes()
	require.NoError(t, s.Close())
	require.Equal(t, make([]byte, patternSize), mem)
	require.Same(t, &mem[0], &s.Bytes()[0])
	copy(mem, bytes.Repeat([]byte{0xEE}, patternSize))
	require.True(t, intact(other.Bytes()), "a store after Close reached the file")
	runtime.KeepAlive(s)
}

// Close while others are at work on the bytes: no fault, and once it has returned
// none of their stores reaches the file any more.
func TestCloseUnderFire(t *testing.T) {
	dir := shm.ScratchDir(t)
	const writers = 8
	for range 20 {
		s, _, err := openOrCreate(t.Context(), dir)
		require.NoError(t, err)
		other := mustOpen(t, dir)

		var stop atomic.Bool
		var stores [writers]atomic.Uint64
		var wg sync.WaitGroup
		for w := range writers {
			mem := s.Bytes()[w*patternSize/writers:][:patternSize/writers]
			wg.Go(func() {
				for n := byte(0); !stop.Load(); n++ {
					for i := range mem {
						mem[i] = mem[i]&1 + n
					}
					stores[w].Add(1)
					runtime.Gosched()
				}
			})
		}
		rounds := func() {
			for w := range stores {
				for before := stores[w].Load(); stores[w].Load() < before+3; {
					runtime.Gosched()
				}
			}
		}
		rounds()
		var closers sync.WaitGroup
		for range 4 {
			closers.Go(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		closers.Wait()
		after := bytes.Clone(other.Bytes())
		rounds()
		require.True(t, bytes.Equal(after, other.Bytes()))
		stop.Store(true)
		wg.Wait()
		runtime.KeepAlive(s)
		require.NoError(t, other.Close())
		require.NoError(t, shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}))
	}
}

// There is no instant at which an address of Bytes is not mapped: unmapping and mapping
// again instead of replacing would be caught here, or crash the test.
func TestCloseLeavesNoHole(t *testing.T) {
	dir := shm.ScratchDir(t)
	first := mustCreate(t, dir, patternSize)
	for range 2000 {
		s, err := first.Reopen()
		require.NoError(t, err)
		var started, stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			mem := s.Bytes()
			for !stop.Load() {
				for n := range byte(200) {
					mem[0], mem[4096], mem[8192] = n, n, n
				}
				started.Store(true)
				runtime.Gosched()
			}
		})
		for !started.Load() {
			runtime.Gosched()
		}
		require.NoError(t, s.Close())
		stop.Store(true)
		wg.Wait()
		runtime.KeepAlive(s)
	}
}

// Methods race with Close: each of them works or says fs.ErrClosed, and no call ever
// reaches a descriptor that by then belongs to another file.
func TestMethodsRaceWithClose(t *testing.T) {
	dir := shm.ScratchDir(t)
	first := mustCreate(t, dir, patternSize)
	for range 50 {
		s := mustOpen(t, dir)
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for s.Check() == nil {
					if ok, err := s.TryLock(w); ok && err == nil {
						_ = s.Unlock(w)
					}
					_, _ = s.Held(w)
				}
				checkClosed(t, s)
			})
		}
		wg.Go(func() { _ = s.Close() })
		wg.Wait()
	}
	for w := range 4 {
		require.False(t, isLocked(t, first, w))
	}
}

func TestClosedSegmentGivesUpItsAddressesWhenCollected(t *testing.T) {
	dir := shm.ScratchDir(t)
	const size = 64 << 20 // larger than any gap that other mappings are likely to fill
	closed := func() shm.AddressRange {
		s, err := shm.Create(t.Context(), "a", size, &shm.Options{Dir: dir}, nil)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.True(t, shm.RangeOf(s).Mapped(), "the range stays until collection")
		return shm.RangeOf(s)
	}()
	eventually(t, "the range is unmapped", func() bool {
		runtime.GC()
		return !closed.Mapped()
	})
	require.NoError(t, shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}))
}

// A handle that nobody remembers, and its bytes, which somebody may be reading, stay what
// they are. It does so in another process, because nobody can close it.
func TestForgottenSegmentStaysOpen(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)
	child := start(t, "forget", dir)
	require.Equal(t, "collected", child.line())
	require.True(t, isLocked(t, s, 0))
	child.kill()
	eventually(t, "its death gives the lock up", func() bool { return !isLocked(t, s, 0) })
}

func childForget(dir string) error {
	forgotten, bytes, err := func() (weak.Pointer[shm.Segment], []byte, error) {
		s, err := shm.Open(context.Background(), "a", patternSize, &shm.Options{Dir: dir})
		if err != nil {
			return weak.Pointer[shm.Segment]{}, nil, err
		}
		if ok, err := s.TryLock(0); err != nil || !ok {
			return weak.Pointer[shm.Segment]{}, nil, fmt.Errorf("locked %v, %w", ok, err)
		}
		return weak.Make(s), s.Bytes(), nil
	}()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); forgotten.Value() != nil; runtime.GC() {
		if time.Now().After(deadline) {
			return errors.New("it was not collected")
		}
	}
	for range 5 { // nobody hears when a cleanup has run
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	if !intact(bytes) {
		return errors.New("its bytes have changed")
	}
	fmt.Println("collected")
	untilInputEnds()
	return nil
}

func TestUsedSegmentIsNotCollected(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)
	for range 10 {
		runtime.GC()
	}
	require.True(t, intact(s.Bytes()))
	require.Len(t, shm.OpenUnder(dir), 1)
}
