package futex

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// twoMappings gives one word through two addresses, as two processes have it.
func twoMappings(t *testing.T) (a, b *atomic.Uint32) {
	fd, err := unix.MemfdCreate("futex", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Ftruncate(fd, 4096))
	word := func() *atomic.Uint32 {
		m, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Munmap(m) })
		return (*atomic.Uint32)(unsafe.Pointer(&m[0]))
	}
	return word(), word()
}

// vectors runs a test with futex_waitv and with its fallback.
func vectors(t *testing.T, f func(t *testing.T)) {
	t.Run("waitv", func(t *testing.T) {
		if err := VectorRefused(); err != nil {
			t.Skip(err)
		}
		f(t)
	})
	t.Run("sliced", func(t *testing.T) {
		was := VectorRefused
		VectorRefused = func() error { return errors.New("refused for a test") }
		defer func() { VectorRefused = was }()
		f(t)
	})
}

const long = 20 * time.Second // no test waits for it; a lost wake-up does

// A wake through one mapping reaches a sleeper on the other: the futex is not private.
func TestWakeAcrossMappings(t *testing.T) {
	vectors(t, func(t *testing.T) {
		a, b := twoMappings(t)
		for _, stops := range [][]*atomic.Uint32{nil, {new(atomic.Uint32)}, {new(atomic.Uint32), new(atomic.Uint32)}} {
			done := make(chan Result, 1)
			go func() {
				r, err := Wait(a, 0, long, stops...)
				if err != nil {
					t.Error(err)
				}
				done <- r
			}()
			for n := 0; n == 0; runtime.Gosched() { // until it sleeps
				var err error
				n, err = Wake(b, 1)
				require.NoError(t, err)
			}
			require.Equal(t, Woken, <-done)
		}
	})
}

func TestWaitComparesFirst(t *testing.T) {
	vectors(t, func(t *testing.T) {
		var w, stop atomic.Uint32
		w.Store(7)
		for _, stops := range [][]*atomic.Uint32{nil, {&stop}} {
			r, err := Wait(&w, 6, long, stops...)
			require.NoError(t, err)
			require.Equal(t, Woken, r)
			for _, limit := range []time.Duration{0, 12 * time.Millisecond, -time.Hour} {
				begin := time.Now()
				r, left := Woken, limit
				for tries := 0; r == Woken && tries < 1000; tries++ { // by a signal
					r, err = Wait(&w, 7, left, stops...)
					require.NoError(t, err)
					left = limit - time.Since(begin)
				}
				require.Equal(t, TimedOut, r)
				require.GreaterOrEqual(t, time.Since(begin), limit)
			}
		}
	})
}

// A stop that races with the beginning of the wait is never missed.
func TestStopRaces(t *testing.T) {
	vectors(t, func(t *testing.T) {
		n := 3000
		if VectorRefused() != nil || testing.Short() {
			n = 100
		}
		for range n {
			var w atomic.Uint32
			stop, other := new(atomic.Uint32), new(atomic.Uint32)
			go Stop(stop)
			r, err := Wait(&w, 0, long, other, stop)
			require.NoError(t, err)
			require.Equal(t, Stopped, r)
			r, err = Wait(&w, 0, long, stop)
			require.NoError(t, err)
			require.Equal(t, Stopped, r, "it stays")
		}
	})
}

// Signals, like those of the runtime's preemption, do not end a wait in slices.
func TestSignalsDoNotEndSlices(t *testing.T) {
	was := VectorRefused
	VectorRefused = func() error { return errors.New("refused for a test") }
	defer func() { VectorRefused = was }()
	var w atomic.Uint32
	stop, thread, done := new(atomic.Uint32), make(chan int), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		thread <- unix.Gettid()
		r, err := Wait(&w, 0, long, stop)
		if r != Stopped || err != nil {
			t.Error(r, err)
		}
		close(done)
	}()
	tid := <-thread
	for range 50 {
		require.NoError(t, unix.Tgkill(os.Getpid(), tid, unix.SIGURG))
		time.Sleep(time.Millisecond)
	}
	Stop(stop)
	<-done
}

// A wake that races with the beginning of the wait is never missed when the waker
// changes the word first.
func TestWakeRaces(t *testing.T) {
	a, b := twoMappings(t)
	for i := range uint32(20000) {
		go func() {
			b.Store(i + 1)
			WakeAll(b)
		}()
		for a.Load() == i {
			r, err := Wait(a, i, long)
			require.NoError(t, err)
			require.NotEqual(t, TimedOut, r)
		}
	}
}

// Memory that is gone is an error, not a wake-up that is repeated for ever.
func TestWaitOnMissingMemory(t *testing.T) {
	vectors(t, func(t *testing.T) {
		f, err := os.CreateTemp(t.TempDir(), "")
		require.NoError(t, err)
		defer f.Close()
		require.NoError(t, f.Truncate(4096))
		m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		require.NoError(t, err)
		defer unix.Munmap(m)
		require.NoError(t, f.Truncate(0))
		word := (*atomic.Uint32)(unsafe.Pointer(&m[0]))
		var stop atomic.Uint32
		_, err = Wait(word, 0, time.Hour)
		require.ErrorIs(t, err, unix.EFAULT)
		_, err = Wait(word, 0, time.Hour, &stop)
		require.ErrorIs(t, err, unix.EFAULT)
		_, err = Wake(word, 1)
		require.ErrorIs(t, err, unix.EFAULT)
	})
}

func TestSupport(t *testing.T) {
	require.NoError(t, Refused())
	require.ErrorIs(t, ErrUnsupported, errors.ErrUnsupported)
	_, err := result(unix.ENOSYS)
	require.ErrorIs(t, err, ErrUnsupported)
	_, err = result(unix.EPERM)
	require.ErrorIs(t, err, ErrUnsupported)
	require.Panics(t, func() { Wait(new(atomic.Uint32), 0, 0, make([]*atomic.Uint32, 5)...) })
	far := after(1<<63 - 1)
	require.EqualValues(t, int64(1<<63-1), far.Nano(), "far deadlines do not overflow")
}

func ExampleWait() {
	var word, stop atomic.Uint32
	go func() {
		word.Store(1)
		WakeAll(&word)
	}()
	for word.Load() == 0 {
		if _, err := Wait(&word, 0, time.Second, &stop); err != nil {
			panic(err)
		}
	}
	os.Stdout.WriteString("awake")
	// Output: awake
}
