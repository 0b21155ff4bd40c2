package shm_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/shm"
)

func lookAt(t *testing.T, path string) *shm.Onlooker {
	t.Helper()
	o, err := shm.LookAt(path)
	require.NoError(t, err)
	t.Cleanup(o.Close)
	return o
}

// Whoever looks on sees what is stored, and is in nobody's way.
func TestOnlookersAreNotFelt(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)
	o := lookAt(t, s.Path())
	s.Bytes()[5] = 77
	var seen byte
	require.NoError(t, o.Safely(func() { seen = o.Bytes()[5] }))
	require.EqualValues(t, 77, seen)
	require.Equal(t, int64(len(s.Bytes())), o.Stat().Size)
	require.Len(t, o.Bytes(), len(s.Bytes()))
	require.Equal(t, unix.Getuid(), o.Stat().UID)

	alone, err := s.Alone()
	require.NoError(t, err)
	require.True(t, alone)
	require.NoError(t, s.Close())
	require.NoError(t, shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}))
	require.NoError(t, o.Safely(func() { seen = o.Bytes()[5] }))
	require.EqualValues(t, 77, seen, "it keeps what it looks at")
}

// Each kind of life lock is seen, of another handle and of another process, until it is dropped.
func TestOnlookersSeeLifeLocks(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)
	kind := s.Applied().Locks
	o := lookAt(t, s.Path())
	held := func(i int) bool {
		t.Helper()
		held, sure, err := o.Held(kind, i, shm.ReadLockTable())
		require.NoError(t, err)
		require.True(t, sure)
		return held
	}
	require.False(t, held(3))
	for range 2 {
		ok, err := s.TryLock(3)
		require.NoError(t, err)
		require.True(t, ok)
		require.True(t, held(3))
		require.False(t, held(2))
		require.NoError(t, s.Unlock(3))
		require.False(t, held(3))
	}
	if kind == shm.Flock {
		_, sure, err := o.Held(kind, 3, nil)
		require.NoError(t, err)
		require.False(t, sure, "nobody tells")
	}
}

// Those who have the segment open are listed, and who has it alone.
func TestOnlookersSeeWhoIsAttached(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)
	o := lookAt(t, s.Path())
	pids, exclusive, known := o.Attached(shm.ReadLockTable())
	require.True(t, known)
	require.False(t, exclusive)
	require.Equal(t, []int{os.Getpid()}, pids)
	alone, err := s.Alone()
	require.NoError(t, err)
	require.True(t, alone)
	_, exclusive, _ = o.Attached(shm.ReadLockTable())
	require.True(t, exclusive)
	require.NoError(t, s.Close())
	pids, _, known = o.Attached(shm.ReadLockTable())
	require.True(t, known)
	require.Empty(t, pids)
	_, _, known = o.Attached(nil)
	require.False(t, known)
}

// A file that is shortened under our eyes is an error and no signal, and what else f does wrong is
// its own.
func TestOnlookersSurviveTruncation(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, 3*4096)
	o := lookAt(t, s.Path())
	ended := false
	var loaded byte
	err := o.Safely(func() {
		require.NoError(t, os.Truncate(s.Path(), 4096))
		loaded = o.Bytes()[2*4096]
		ended = true
	})
	require.ErrorIs(t, err, shm.ErrTruncated)
	require.ErrorContains(t, err, "4096 bytes are left of 12288")
	require.False(t, ended)
	require.ErrorIs(t, o.Safely(func() { copy(make([]byte, 3*4096), o.Bytes()) }), shm.ErrTruncated)
	require.NoError(t, o.Safely(func() { loaded = o.Bytes()[4095] }))
	require.NotZero(t, loaded)
	require.PanicsWithValue(t, "own", func() { _ = o.Safely(func() { panic("own") }) })
	require.Panics(t, func() { _ = o.Safely(func() { var p *int; *p = 1 }) })
	require.Error(t, o.Safely(func() { o.Bytes()[0] = 1 }), "it is mapped for reading only")
}

func TestOnlookersAtWhatIsNoSegment(t *testing.T) {
	dir := shm.ScratchDir(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(path("empty.shmring"), nil, 0o600))
	require.NoError(t, os.Mkdir(path("dir.shmring"), 0o700))
	require.NoError(t, os.Symlink("empty.shmring", path("link.shmring")))
	require.NoError(t, unix.Mkfifo(path("fifo.shmring"), 0o600))
	require.NoError(t, os.WriteFile(path(".a.shmring"), nil, 0o600))
	require.NoError(t, os.WriteFile(path("other"), nil, 0o600))

	require.Empty(t, lookAt(t, path("empty.shmring")).Bytes())
	for name, what := range map[string]string{"dir": "a directory", "link": "a symbolic link", "fifo": "a FIFO"} {
		_, err := shm.LookAt(path(name + ".shmring"))
		require.ErrorIs(t, err, shm.ErrRefused, name)
		require.ErrorContains(t, err, what)
		st, err := shm.StatPath(path(name + ".shmring"))
		require.NoError(t, err)
		require.Equal(t, what, st.Irregular)
	}
	_, err := shm.LookAt(path("none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	found, err := shm.Segments(dir)
	require.NoError(t, err)
	var names []string
	for _, f := range found {
		names = append(names, f.Name)
	}
	require.Equal(t, []string{"dir", "empty", "fifo", "link"}, names)
	_, err = shm.Segments(path("none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// An onlooker fills no hole, and says that there is one.
func TestLookingFillsNoHole(t *testing.T) {
	s := mustCreate(t, shm.ScratchDir(t), 1<<16)
	f, err := os.OpenFile(s.Path(), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 8192, 4096))
	for range 2 {
		_, err = shm.LookAt(s.Path())
		var lost *shm.TruncatedError
		require.ErrorAs(t, err, &lost)
		require.EqualValues(t, 1<<16-4096, lost.Memory)
		require.ErrorIs(t, s.Check(), shm.ErrTruncated, "it can still be told")
	}
}

// A lock that is held is in the table, however many others come and go while it is read.
func TestLockTableBesideOthers(t *testing.T) {
	dir := shm.ScratchDir(t)
	open := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	lock := func(f *os.File, how int) error { return unix.Flock(int(f.Fd()), how) }
	var held []*shm.Onlooker
	for i := range 200 { // more than one read returns
		f := open(fmt.Sprint("held", i))
		require.NoError(t, lock(f, unix.LOCK_EX))
		held = append(held, lookAt(t, f.Name()))
	}
	if _, _, known := held[0].Attached(shm.ReadLockTable()); !known {
		t.Skip("the system does not tell")
	}
	stop, done := make(chan struct{}), make(chan error)
	for i := range 2 {
		f := open(fmt.Sprint("churn", i))
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				if err := errors.Join(lock(f, unix.LOCK_EX), lock(f, unix.LOCK_UN)); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	missed := 0
	for range 300 {
		table := shm.ReadLockTable()
		for _, o := range held {
			if pids, _, _ := o.Attached(table); len(pids) == 0 {
				missed++
			}
		}
	}
	close(stop)
	require.NoError(t, errors.Join(<-done, <-done))
	require.Zero(t, missed)
}

// However many of the locks before a page go before it is read, those that stay are all found.
func TestLocksGoBetweenPages(t *testing.T) {
	for _, gone := range []int{0, 1, 15, 40, 150} {
		for before := range 6 { // which page
			const stay = 300
			var locks []string
			for i := range gone {
				locks = append(locks, fmt.Sprintf("FLOCK  ADVISORY  WRITE %d 00:2f:%d 0 EOF", 1000+i, 5000+i))
			}
			for i := range stay {
				locks = append(locks, fmt.Sprintf("FLOCK  ADVISORY  WRITE %d 00:2f:%d 0 EOF", 2000+i, 6000+i))
			}
			reads := 0
			text, err := shm.ReadLocks(func(buf []byte, at int64) (int, error) {
				if reads++; reads == before+1 {
					locks = locks[gone:]
				}
				return copy(buf, lockPage(locks, at)), nil
			})
			require.NoError(t, err)
			for _, lock := range locks[len(locks)-stay:] {
				require.Contains(t, string(text), ": "+lock+"\n", "%d gone before read %d", gone, before)
			}
		}
	}
}

// lockPage is what one read of /proc/locks returns: from an offset on as many whole lines as fit into a page.
func lockPage(locks []string, at int64) string {
	var list strings.Builder
	for i, lock := range locks {
		fmt.Fprintf(&list, "%d: %s\n", i+1, lock)
	}
	rest := list.String()[min(at, int64(list.Len())):]
	if page := os.Getpagesize(); len(rest) > page {
		rest = rest[:strings.LastIndexByte(rest[:page], '\n')+1]
	}
	return rest
}
