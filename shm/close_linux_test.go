package shm_test

import (
	"bytes"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

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

func TestCollectedSegmentsGiveUpTheirAddresses(t *testing.T) {
	dir := shm.ScratchDir(t)
	const size = 64 << 20 // larger than any gap that other mappings are likely to fill
	addresses := func() (closed, forgotten shm.AddressRange) {
		s, err := shm.Create(t.Context(), "a", size, &shm.Options{Dir: dir}, nil)
		require.NoError(t, err)
		r, err := s.Reopen()
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.True(t, shm.RangeOf(s).Mapped(), "the range stays until collection")
		ok, err := r.TryLock(0)
		require.NoError(t, err)
		require.True(t, ok)
		return shm.RangeOf(s), shm.RangeOf(r)
	}
	closed, forgotten := addresses()
	eventually(t, "both ranges are unmapped", func() bool {
		runtime.GC()
		return !closed.Mapped() && !forgotten.Mapped()
	})
	eventually(t, "the forgotten descriptor is closed", func() bool { return len(shm.OpenUnder(dir)) == 0 })
	require.NoError(t, shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}))
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
