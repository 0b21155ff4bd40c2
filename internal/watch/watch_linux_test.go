package watch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

type file struct {
	t  *testing.T
	fd int
}

func newFile(t *testing.T) file {
	fd, err := unix.Open(filepath.Join(t.TempDir(), "watched"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Ftruncate(fd, 4096))
	return file{t, fd}
}

func (f file) path() string { return fmt.Sprintf("/proc/self/fd/%d", f.fd) }

func (f file) read() {
	var b [1]byte
	n, err := unix.Pread(f.fd, b[:], 0)
	require.NoError(f.t, err)
	require.Equal(f.t, 1, n)
}

func (f file) watch(events chan<- int, which int) *Watch {
	w, err := Add(f.path(), func() {
		select {
		case events <- which:
		default:
		}
	})
	require.NoError(f.t, err)
	return w
}

func next(t *testing.T, events <-chan int) int {
	select {
	case i := <-events:
		return i
	case <-time.After(20 * time.Second):
		t.Fatal("no event")
		return 0
	}
}

func TestEvents(t *testing.T) {
	before := runtime.NumGoroutine()
	a, b := newFile(t), newFile(t)
	events := make(chan int, 16)
	wa, wb := a.watch(events, 1), b.watch(events, 2)
	next(t, events) // of the trials
	next(t, events)
	for range 1000 {
		a.read()
		require.Equal(t, 1, next(t, events))
		b.read()
		require.Equal(t, 2, next(t, events))
	}
	wa.Close()
	wa.Close()
	a.read()
	b.read()
	require.Equal(t, 2, next(t, events), "a closed watch is silent")
	require.Empty(t, events)
	wb.Close()
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		require.True(t, time.Now().Before(deadline), "something is left")
	}

	w := a.watch(events, 3) // a new listener
	next(t, events)
	a.read()
	require.Equal(t, 3, next(t, events))
	w.Close()
}

// Two watches of one file are one to the kernel.
func TestTwoOfOneFile(t *testing.T) {
	a := newFile(t)
	one, two := make(chan int, 1), make(chan int, 1)
	w1, w2 := a.watch(one, 1), a.watch(two, 2)
	next(t, one)
	next(t, two)
	select { // the second trial told the first watch too
	case <-one:
	default:
	}
	a.read()
	next(t, one)
	next(t, two)
	w1.Close()
	a.read()
	next(t, two)
	require.Empty(t, one)
	w2.Close()
}

// Where events were lost, everybody is told.
func TestOverflow(t *testing.T) {
	var told atomic.Int32
	l := &listener{of: map[int32]map[*Watch]struct{}{}}
	for wd := range int32(3) {
		l.of[wd] = map[*Watch]struct{}{{f: func() { told.Add(1) }, heard: make(chan struct{})}: {}}
	}
	event := make([]byte, unix.SizeofInotifyEvent)
	for i := range 4 {
		event[i] = 0xff // wd −1
	}
	event[5] = unix.IN_Q_OVERFLOW >> 8
	l.dispatch(append(event, 1, 2, 3)) // and half an event, which the kernel never gives
	require.EqualValues(t, 3, told.Load())
}

// A read that comes after Add returned is never missed, whatever else comes and goes.
func TestRaces(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			f := newFile(t)
			for range 200 {
				events := make(chan int, 1)
				w := f.watch(events, i)
				next(t, events)
				f.read()
				next(t, events)
				w.Close()
			}
		})
	}
	wg.Wait()
}

// A file whose reading tells nobody is found out at once, not by waiting for ever.
// Nothing can be read from an empty one.
func TestSilentFile(t *testing.T) {
	f := newFile(t)
	require.NoError(t, unix.Ftruncate(f.fd, 0))
	_, err := Add(f.path(), func() {})
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	requireIdle(t)
}

func TestNoSuchFile(t *testing.T) {
	_, err := Add("/nonexistent", func() {})
	require.ErrorIs(t, err, unix.ENOENT)
	requireIdle(t)
}

// requireIdle: nothing is watched, and the listener goes.
func requireIdle(t *testing.T) {
	for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		mu.Lock()
		gone := current == nil
		require.True(t, gone || len(current.of) == 0)
		mu.Unlock()
		if gone {
			return
		}
		require.True(t, time.Now().Before(deadline), "the listener stays")
	}
}

// Who ends a watch does not wait for the listener to go, and who begins one soon finds it.
func TestListenerLingers(t *testing.T) {
	f := newFile(t)
	events := make(chan int, 1)
	w := f.watch(events, 1)
	mu.Lock()
	before := current
	mu.Unlock()
	w.Close()
	next(t, events)
	w = f.watch(events, 2)
	defer w.Close()
	next(t, events)
	mu.Lock()
	defer mu.Unlock()
	require.Same(t, before, current)
}

// A file of a name appears, in each way in which that happens.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	events := make(chan int, 16)
	for which, name := range []string{"a", "ab"} {
		w, err := AddName(dir, name, func() { events <- which })
		require.NoError(t, err)
		defer w.Close()
	}
	f := newFile(t) // in the same listener
	reads := make(chan int, 1)
	defer f.watch(reads, 9).Close()
	next(t, reads)
	for _, name := range []string{"b", "a", "abc", "ab"} {
		require.NoError(t, os.WriteFile(path(name), nil, 0o600))
	}
	require.Equal(t, 0, next(t, events))
	require.Equal(t, 1, next(t, events))
	require.NoError(t, os.Remove(path("a")))
	require.NoError(t, os.Rename(path("b"), path("a")))
	require.Equal(t, 0, next(t, events))
	require.NoError(t, os.Remove(path("ab")))
	require.NoError(t, os.Link(path("a"), path("ab")))
	require.Equal(t, 1, next(t, events))
	require.Empty(t, events)

	_, err := AddName(path("missing"), "a", func() {})
	require.ErrorIs(t, err, unix.ENOENT)
	_, err = AddName(path("a"), "a", func() {})
	require.ErrorIs(t, err, unix.ENOTDIR)
}

// Who may only read a file, and does so without end, does not keep the listener busy: while nobody
// has a use for the events, it is up once in a while. Who has a use for one gets it all the same.
func TestEventsForNothingAreBounded(t *testing.T) {
	f := newFile(t)
	var calls atomic.Int64
	w, err := Add(f.path(), func() { calls.Add(1) })
	require.NoError(t, err)
	defer w.Close()
	Heard()
	before, begin := calls.Load(), time.Now()
	for calls.Load() < before+3*idleMost {
		f.read()
		require.Less(t, time.Since(begin), 20*time.Second)
	}
	require.GreaterOrEqual(t, time.Since(begin), idleMost*idleRest)

	g := newFile(t)
	events := make(chan int, 1)
	defer g.watch(events, 1).Close()
	next(t, events)
	for range 100 {
		f.read()
		g.read()
		require.Equal(t, 1, next(t, events))
		Heard()
	}
}

// An empty file has no events. Nobody waits for one.
func TestEmptyFile(t *testing.T) {
	f := newFile(t)
	require.NoError(t, unix.Ftruncate(f.fd, 0))
	_, err := Add(f.path(), func() {})
	require.ErrorIs(t, err, io.EOF)
	require.ErrorIs(t, err, ErrUnsupported)
}
