package shm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/shm"
)

// alone opens the segment of a directory, which nobody else has open.
func alone(t *testing.T, dir string) *shm.Segment {
	t.Helper()
	s := mustOpen(t, dir)
	only, err := s.Alone()
	require.NoError(t, err)
	require.True(t, only)
	return s
}

// filled is a format that writes one byte everywhere.
func filled(with byte) func([]byte) error {
	return func(mem []byte) error {
		for i := range mem {
			mem[i] = with
		}
		return nil
	}
}

// unused makes a segment that nobody has open.
func unused(t *testing.T) (dir string) {
	t.Helper()
	dir = shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)
	ok, err := s.TryLock(3)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, s.Close())
	return dir
}

func statOf(t *testing.T, dir string) *syscall.Stat_t {
	info, err := os.Stat(dir + "/a.shmring")
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t)
}

func TestReplace(t *testing.T) {
	for _, way := range []string{"without a name", "hidden"} {
		t.Run(way, func(t *testing.T) {
			dir := unused(t)
			require.NoError(t, os.Chmod(dir+"/a.shmring", 0o640))
			if os.Geteuid() == 0 {
				require.NoError(t, os.Chown(dir+"/a.shmring", 0, 12345))
			}
			before := statOf(t, dir)
			if way == "hidden" {
				shm.WithoutTmpFile(t)
			}
			s := alone(t, dir)
			require.NoError(t, s.Replace(t.Context(), 100000, filled(9)))
			require.Equal(t, []string{"a.shmring"}, shm.Names(t, dir), "nothing beside it, lock files included")
			require.ErrorIs(t, s.Check(), shm.ErrOrphaned)
			require.True(t, intact(s.Bytes()), "the old file is what it was")
			require.NoError(t, s.Close())
			after := statOf(t, dir)
			require.NotEqual(t, before.Ino, after.Ino)
			require.Equal(t, []any{before.Uid, before.Gid, before.Mode}, []any{after.Uid, after.Gid, after.Mode})
			require.EqualValues(t, 100000, after.Size)
			require.GreaterOrEqual(t, after.Blocks*512, int64(100000), "the file is sparse")
			s = mustOpen(t, dir)
			require.Equal(t, byte(9), s.Bytes()[99999])
			require.NoError(t, s.Close())
			require.NoError(t, shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}))
			require.Empty(t, shm.Names(t, dir))
		})
	}
}

// Who has not asked, or was told that others are there, must not take the name from them.
func TestReplaceNeedsToBeAlone(t *testing.T) {
	dir := unused(t)
	s, other := mustOpen(t, dir), mustOpen(t, dir)
	for range 2 {
		require.Panics(t, func() { _ = s.Replace(t.Context(), 100, filled(1)) })
		only, err := s.Alone()
		require.NoError(t, err)
		require.False(t, only)
	}
	require.NoError(t, other.Close())
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Replace(t.Context(), 100, filled(1)), fs.ErrClosed)
	require.ErrorIs(t, shm.Heap(8).Replace(t.Context(), 100, filled(1)), shm.ErrUnsupported)
}

// What goes wrong leaves the segment as it was, and nothing beside it.
func TestReplaceThatFails(t *testing.T) {
	wrong := errors.New("wrong")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		try  func(s *shm.Segment) error
		want error
	}{
		"format": {func(s *shm.Segment) error {
			return s.Replace(t.Context(), 100, func([]byte) error { return wrong })
		}, wrong},
		"size":    {func(s *shm.Segment) error { return s.Replace(t.Context(), -1, filled(1)) }, fs.ErrInvalid},
		"context": {func(s *shm.Segment) error { return s.Replace(ended, 100, filled(1)) }, context.Canceled},
		"rename": {func(s *shm.Segment) error {
			shm.RefuseRename(t, unix.EPERM)
			return s.Replace(t.Context(), 100, filled(1))
		}, fs.ErrPermission},
	} {
		t.Run(name, func(t *testing.T) {
			dir := unused(t)
			was := statOf(t, dir).Ino
			s := alone(t, dir)
			require.ErrorIs(t, c.try(s), c.want)
			require.NoError(t, s.Check())
			require.Equal(t, []string{"a.shmring"}, shm.Rings(t, dir))
			require.NoError(t, s.Close())
			require.Equal(t, was, statOf(t, dir).Ino)
			require.True(t, intact(mustOpen(t, dir).Bytes()))
		})
	}
}

func TestReplaceInAFullFileSystem(t *testing.T) {
	dir := shm.SmallTmpfs(t, "size=128k")
	opt := &shm.Options{Dir: dir}
	s, err := shm.Create(t.Context(), "a", 64<<10, opt, nil)
	require.NoError(t, err)
	only, err := s.Alone()
	require.NoError(t, err)
	require.True(t, only)
	err = s.Replace(t.Context(), 65<<10, filled(1))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, []string{"a.shmring"}, shm.Rings(t, dir))
	require.NoError(t, s.Check())
	require.NoError(t, s.Close())
	require.NoError(t, shm.Remove(t.Context(), "a", opt))
}

// Somebody has taken the name away by other means.
func TestReplaceOfAnOrphan(t *testing.T) {
	dir := unused(t)
	s := alone(t, dir)
	require.NoError(t, os.Rename(dir+"/a.shmring", dir+"/b.shmring"))
	require.NoError(t, os.WriteFile(dir+"/a.shmring", []byte("other"), 0o600))
	require.ErrorIs(t, s.Replace(t.Context(), 100, filled(1)), shm.ErrOrphaned)
	require.NoError(t, s.Close())
	got, err := os.ReadFile(dir + "/a.shmring")
	require.NoError(t, err)
	require.Equal(t, "other", string(got))
}

// Who waits for the old file gets the new one, and Remove takes it for one that is in use.
func TestOpenThatWaitsForAReplacement(t *testing.T) {
	dir := unused(t)
	s := alone(t, dir)
	type result struct {
		s   *shm.Segment
		err error
	}
	opened := make(chan result, 1)
	waits := shm.NoticeSharing(t)
	go func() {
		s, err := shm.Open(t.Context(), "a", 1, &shm.Options{Dir: dir})
		opened <- result{s, err}
	}()
	<-waits
	require.ErrorIs(t, shm.Remove(done(t), "a", &shm.Options{Dir: dir}), shm.ErrBusy)
	require.NoError(t, s.Replace(t.Context(), 100, filled(7)))
	require.ErrorIs(t, shm.Remove(done(t), "a", &shm.Options{Dir: dir}), nil, "the new one, which nobody has open")
	require.NoError(t, os.WriteFile(dir+"/a.shmring", []byte{5}, 0o600))
	require.NoError(t, s.Close())
	r := <-opened
	require.NoError(t, r.err)
	require.Equal(t, []byte{5}, r.s.Bytes())
	require.NoError(t, r.s.Close())
}

// done is a context that has ended: Remove tries once.
func done(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// childReplace replaces a segment and stops in format.
func childReplace(dir string) error {
	s, err := shm.Open(context.Background(), "a", 1, &shm.Options{Dir: dir})
	if err != nil {
		return err
	}
	if only, err := s.Alone(); !only || err != nil {
		return fmt.Errorf("alone: %v, %w", only, err)
	}
	return s.Replace(context.Background(), 1<<20, func([]byte) error {
		fmt.Println("formatting")
		untilInputEnds()
		return nil
	})
}

// Killed in it, a replacement leaves the segment, and a file of which the next one, or a removal,
// makes an end.
func TestKilledReplacement(t *testing.T) {
	for _, mode := range []string{"replace", "replacekill"} {
		for _, next := range []string{"replace", "remove"} {
			dir := unused(t)
			require.NoError(t, os.WriteFile(dir+"/.b.0123456789abcdef.new", nil, 0o600))
			p := start(t, mode, dir)
			require.Equal(t, "formatting", p.line())
			p.kill()
			_ = p.cmd.Wait()
			left, err := filepath.Glob(dir + "/.a.*.new")
			require.NoError(t, err)
			require.Len(t, left, map[string]int{"replace": 0, "replacekill": 1}[mode])
			s := alone(t, dir)
			require.True(t, intact(s.Bytes()))
			if next == "replace" {
				require.NoError(t, s.Replace(t.Context(), 100, filled(1)))
			}
			require.NoError(t, s.Close())
			if next == "remove" {
				require.NoError(t, shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}))
				require.Equal(t, []string{".b.0123456789abcdef.new"}, shm.Names(t, dir))
				continue
			}
			require.Equal(t, []string{".b.0123456789abcdef.new", "a.shmring"}, shm.Names(t, dir))
		}
	}
}
