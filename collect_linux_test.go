package shmring_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
)

// collected are the names of what was found, with what became of it.
func collected(t *testing.T, o shmring.CollectOptions) (names []string) {
	t.Helper()
	list, err := shmring.Collect(soon(t), &o)
	require.NoError(t, err)
	for _, c := range list {
		what := c.What
		if c.Removed {
			what += " removed"
		}
		if c.Kept != "" {
			what += " kept"
		}
		names = append(names, c.Name+" "+what)
	}
	return names
}

// Files that were never finished go, unless somebody has them open.
func TestCollectUnfinishedFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{".a.0123456789abcdef.tmp", ".b.c.0123456789abcdef.new", ".d.0123456789abcdef.tmp"} {
		require.NoError(t, os.WriteFile(file(name), []byte("x"), 0o600))
	}
	others := []string{".a.0123456789abcdeX.tmp", ".a.0123.tmp", "a.0123456789abcdef.tmp", ".tmp", "other",
		".shmring-1.0.lock"}
	for _, name := range others {
		require.NoError(t, os.WriteFile(file(name), nil, 0o600))
	}
	held, err := os.OpenFile(file(".d.0123456789abcdef.tmp"), os.O_RDWR, 0)
	require.NoError(t, err)
	defer held.Close()
	o := shmring.CollectOptions{Dir: dir}
	require.Equal(t, []string{"a unfinished", "b.c unfinished", "d unfinished kept"}, collected(t, o))
	o.Remove = true
	require.Equal(t, []string{"a unfinished removed", "b.c unfinished removed", "d unfinished kept"}, collected(t, o))
	require.NoError(t, held.Close())
	require.Equal(t, []string{"d unfinished removed"}, collected(t, o))
	for _, name := range others {
		require.FileExists(t, file(name))
	}
}

// Rings go if they are asked for, nobody uses them, and nothing waits in them.
func TestCollectUnusedRings(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.KeepStream = shmring.ModeOpenOrCreate, true
		all := shmring.CollectOptions{Dir: o.Dir, Unused: true, Remove: true}
		p := openProducer(t, &o)
		require.Empty(t, collected(t, all), "in use")
		require.NoError(t, p.TrySend([]byte("x")))
		require.NoError(t, p.Close())
		require.Empty(t, collected(t, all), "a message waits")
		c := openConsumer(t, &o)
		m, err := c.Next(soon(t))
		require.NoError(t, err)
		m.Release()
		_ = c.Check()
		ended := o
		ended.KeepStream = false
		require.NoError(t, openProducer(t, &ended).Close())
		require.NoError(t, c.Close())
		require.Empty(t, collected(t, all), "a stream has ended, and nobody was told")
		c = openConsumer(t, &o)
		_, err = c.TryNext()
		require.Equal(t, io.EOF, err)
		_, err = c.TryNext()
		require.ErrorIs(t, err, shmring.ErrEmpty)
		require.NoError(t, c.Close())

		cmd, told := spawn(t, o.Dir, 0, 0, "stop")
		require.True(t, told.Scan())
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		require.Empty(t, collected(t, all), "that it died is to be told")
		c = openConsumer(t, &o)
		for range 2 {
			_, err = c.Next(soon(t))
			if deadError(err) {
				break
			}
		}
		_, err = c.TryNext()
		require.ErrorIs(t, err, shmring.ErrEmpty)
		require.NoError(t, c.Close())
		require.Empty(t, collected(t, shmring.CollectOptions{Dir: o.Dir, Remove: true}))
		require.Equal(t, []string{"r unused"}, collected(t, shmring.CollectOptions{Dir: o.Dir, Unused: true}))
		require.FileExists(t, filepath.Join(o.Dir, "r.shmring"))
		require.Equal(t, []string{"r unused removed"}, collected(t, all))
		require.NoFileExists(t, filepath.Join(o.Dir, "r.shmring"))
	})
}

// A ring that somebody has used since it was looked at stays: it is looked at again when nobody can
// open it any more.
func TestCollectLooksAgain(t *testing.T) {
	o := &shmring.Options{Dir: ringDir(t), Mode: shmring.ModeOpenOrCreate, KeepStream: true}
	p := openProducer(t, o)
	require.ErrorIs(t, shmring.RemoveUnused(soon(t), "r", o.Dir), shmring.ErrBusy)
	require.NoError(t, p.TrySend([]byte("x")))
	require.NoError(t, p.Close())
	require.ErrorContains(t, shmring.RemoveUnused(soon(t), "r", o.Dir), "something waits in it by now")
	require.FileExists(t, p.Info().Path)
}

// Directories of lock files go when their ring is no more or was never born, and not before: while somebody
// makes the ring, or has it open under no name, they stay.
func TestCollectLocks(t *testing.T) {
	t.Setenv(shmring.EnvLocks, "flock")
	o := &shmring.Options{Dir: ringDir(t), Mode: shmring.ModeOpenOrCreate, KeepStream: true,
		Doorbell: shmring.DoorbellFutex}
	dry, all := shmring.CollectOptions{Dir: o.Dir}, shmring.CollectOptions{Dir: o.Dir, Remove: true}
	p := openProducer(t, o)
	require.Empty(t, collected(t, all), "it has a ring")
	require.NoError(t, os.Remove(p.Info().Path))
	require.Equal(t, []string{" locks kept"}, collected(t, dry), "of an orphan that is in use")
	require.Equal(t, []string{" locks kept"}, collected(t, all))
	require.ErrorIs(t, p.Close(), shmring.ErrOrphaned)
	require.Equal(t, []string{" locks"}, collected(t, dry))
	require.Equal(t, []string{" locks"}, collected(t, dry), "nothing was changed")
	require.Equal(t, []string{" locks removed"}, collected(t, all))
	require.Empty(t, collected(t, all))

	unborn := filepath.Join(o.Dir, ".shmring-4711.locks")
	require.NoError(t, os.Mkdir(unborn, 0o700))
	fd, err := os.Open(unborn) // as somebody who creates it
	require.NoError(t, err)
	require.NoError(t, unix.Flock(int(fd.Fd()), unix.LOCK_SH))
	require.Equal(t, []string{" locks kept"}, collected(t, all))
	require.NoError(t, fd.Close())
	stranger := filepath.Join(unborn, "somebody's")
	require.NoError(t, os.WriteFile(stranger, nil, 0o600))
	require.Equal(t, []string{" locks kept"}, collected(t, dry))
	require.Equal(t, []string{" locks kept"}, collected(t, all))
	require.FileExists(t, stranger)
	require.NoError(t, os.Remove(stranger))
	require.Equal(t, []string{" locks removed"}, collected(t, all))
	require.NoDirExists(t, unborn)
}
