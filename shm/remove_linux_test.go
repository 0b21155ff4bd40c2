package shm_test

import (
	"context"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/shm"
)

func TestRemoveRefusesWhileAttached(t *testing.T) {
	dir := shm.ScratchDir(t)
	opt := &shm.Options{Dir: dir}
	created, opened := mustCreate(t, dir, patternSize), mustOpen(t, dir)
	reopened, err := opened.Reopen()
	require.NoError(t, err)

	for i, s := range []*shm.Segment{created, opened, reopened} {
		ok, err := s.TryLock(i)
		require.NoError(t, err)
		require.True(t, ok)
	}
	for _, s := range []*shm.Segment{created, opened, reopened} {
		err := shm.Remove(t.Context(), "a", opt)
		require.ErrorIs(t, err, shm.ErrBusy)
		var busy *shm.BusyError
		require.ErrorAs(t, err, &busy)
		require.Equal(t, s.Path(), busy.Path)
		require.NoError(t, s.Check())
		require.NoError(t, s.Close())
	}
	require.Equal(t, []string{"a.shmring"}, shm.Rings(t, dir), "Close never unlinks")
	require.NoError(t, shm.Remove(t.Context(), "a", opt))
	require.Empty(t, shm.Names(t, dir))
	require.ErrorIs(t, shm.Remove(t.Context(), "a", opt), fs.ErrNotExist)
	require.ErrorIs(t, shm.Remove(t.Context(), ".", opt), fs.ErrInvalid)
}

func TestRefusedRemoveLeavesNoLockBehind(t *testing.T) {
	dir := shm.ScratchDir(t)
	mustCreate(t, dir, patternSize)
	require.ErrorIs(t, shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}), shm.ErrBusy)
	mustOpen(t, dir)
}

func TestRemoveIsBusyWhileAnotherRemoves(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)
	require.NoError(t, s.Close())
	release := exclude(t, s.Path())
	require.ErrorIs(t, shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}), shm.ErrBusy)
	release()
	require.NoError(t, shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}))
}

// A remover that is killed leaves a segment that can be used or removed.
func TestKilledRemover(t *testing.T) {
	for _, mode := range []string{"remove", "removehalf"} {
		for _, next := range []string{"remove", "use"} {
			t.Run(mode+" "+next, func(t *testing.T) {
				dir := shm.ScratchDir(t)
				opt := &shm.Options{Dir: dir}
				s := mustCreate(t, dir, patternSize)
				for i := range 3 {
					ok, err := s.TryLock(i)
					require.NoError(t, err)
					require.True(t, ok)
				}
				require.NoError(t, s.Close())
				if s.Applied().Locks == shm.OFD && mode == "removehalf" {
					t.Skip("there is only one file")
				}
				p := start(t, mode, dir)
				require.Equal(t, "removing", p.line())
				require.Equal(t, []string{"a.shmring"}, shm.Rings(t, dir), "the name goes last")
				require.ErrorIs(t, shm.Remove(t.Context(), "a", opt), shm.ErrBusy)
				p.kill()
				_ = p.cmd.Wait()
				if next == "use" {
					s := mustOpen(t, dir)
					ok, err := s.TryLock(0)
					require.NoError(t, err)
					require.True(t, ok)
					require.NoError(t, s.Close())
				}
				require.NoError(t, shm.Remove(t.Context(), "a", opt))
				require.Empty(t, shm.Names(t, dir))
			})
		}
	}
}

func TestCheckNoticesOrphans(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)

	require.NoError(t, os.Rename(s.Path(), dir+"/elsewhere"))
	require.ErrorIs(t, s.Check(), shm.ErrOrphaned, "nobody finds it under another name")
	other := mustCreate(t, dir, patternSize)
	require.ErrorIs(t, s.Check(), shm.ErrOrphaned)
	require.NoError(t, other.Check())
	require.NoError(t, os.Rename(dir+"/elsewhere", s.Path()))
	require.NoError(t, s.Check())
	require.ErrorIs(t, other.Check(), shm.ErrOrphaned)

	require.NoError(t, os.Remove(s.Path()))
	require.ErrorIs(t, s.Check(), shm.ErrOrphaned)

	replacement := mustCreate(t, dir, patternSize)
	require.ErrorIs(t, s.Check(), shm.ErrOrphaned)
	require.NoError(t, replacement.Check())

	r, err := s.Reopen()
	require.NoError(t, err, "an orphan can be reopened")
	r.Bytes()[0] = 99
	require.Equal(t, byte(99), s.Bytes()[0])
	require.ErrorIs(t, r.Check(), shm.ErrOrphaned)
	require.NoError(t, r.Close())
}

// After a chroot, or when the directory was moved, the path says nothing about us.
func TestCheckWithoutTheDirectory(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)
	require.NoError(t, os.Rename(dir, dir+".moved"))
	require.NoError(t, s.Check())
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, s.Check())
	require.NoError(t, os.Remove(dir))
	require.NoError(t, os.Rename(dir+".moved", dir))
	require.NoError(t, os.Remove(s.Path()))
	require.ErrorIs(t, s.Check(), shm.ErrOrphaned)
}

func TestAlone(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)
	other, err := s.Reopen()
	require.NoError(t, err)
	alone, err := s.Alone()
	require.NoError(t, err)
	require.False(t, alone)
	again, err := shm.Open(t.Context(), "a", 1, &shm.Options{Dir: dir})
	require.NoError(t, err, "a refusal changes nothing")
	require.NoError(t, again.Close())
	require.NoError(t, other.Close())
	require.ErrorIs(t, shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}), shm.ErrBusy, "s is still attached")

	alone, err = s.Alone()
	require.NoError(t, err)
	require.True(t, alone)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = shm.Open(ctx, "a", 1, &shm.Options{Dir: dir})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}), shm.ErrBusy)
	require.NoError(t, s.Close())
	_, err = s.Alone()
	require.ErrorIs(t, err, fs.ErrClosed)
	again, err = shm.Open(t.Context(), "a", 1, &shm.Options{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

// Of several who leave, the last is told so although the others have not closed yet.
func TestLeave(t *testing.T) {
	dir := shm.ScratchDir(t)
	first := mustCreate(t, dir, patternSize)
	second, err := first.Reopen()
	require.NoError(t, err)
	third, err := first.Reopen()
	require.NoError(t, err)
	stays, err := first.Alone()
	require.NoError(t, err)
	require.False(t, stays)
	for i, s := range []*shm.Segment{first, second, third} {
		last, err := s.Leave()
		require.NoError(t, err)
		require.Equal(t, i == 2, last)
		ok, err := s.TryLock(i)
		require.NoError(t, err)
		require.True(t, ok, "life locks are good until Close")
	}
	require.ErrorIs(t, shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}), shm.ErrBusy)
	for _, s := range []*shm.Segment{third, first, second} {
		require.NoError(t, s.Close())
	}
	_, err = first.Leave()
	require.ErrorIs(t, err, fs.ErrClosed)
	require.NoError(t, shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}))
}

// So it is when nobody can open the segment any more, with either kind of locks, and though all leave at once
// where they cannot take turns.
func TestLeaveOfAnOrphan(t *testing.T) {
	for _, locks := range []shm.Locks{shm.OFD, shm.Flock} {
		for range 50 {
			dir := shm.ScratchDir(t)
			first, err := shm.Create(t.Context(), "a", patternSize, &shm.Options{Dir: dir, Locks: locks}, pattern)
			require.NoError(t, err)
			all := []*shm.Segment{first}
			for range 3 {
				s, err := first.Reopen()
				require.NoError(t, err)
				all = append(all, s)
			}
			require.NoError(t, os.Remove(first.Path()))
			var wg sync.WaitGroup
			var lasts atomic.Int32
			for _, s := range all {
				leave := func() {
					last, err := s.Leave()
					if err != nil {
						t.Error(err)
					}
					if last {
						lasts.Add(1)
					}
				}
				if locks == shm.OFD {
					leave()
				} else {
					wg.Go(leave)
				}
			}
			wg.Wait()
			require.EqualValues(t, 1, lasts.Load())
			for _, s := range all {
				require.NoError(t, s.Close())
			}
		}
	}
}

func TestCheckNoticesAFileRenamedOverTheName(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)
	require.NoError(t, os.WriteFile(dir+"/new", make([]byte, patternSize), 0o600))
	require.NoError(t, os.Rename(dir+"/new", s.Path()))
	require.ErrorIs(t, s.Check(), shm.ErrOrphaned)
}

func TestCheckNoticesTruncation(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)
	require.NoError(t, os.Truncate(s.Path(), patternSize+4096))
	err := s.Check()
	require.ErrorIs(t, err, shm.ErrChanged, "nobody else can open it any more")
	require.ErrorContains(t, err, "it has 16384 bytes, and had 12288")
	require.NoError(t, os.Truncate(s.Path(), patternSize-1))
	err = s.Check()
	require.ErrorIs(t, err, shm.ErrTruncated)
	require.ErrorContains(t, err, "12287 bytes are left of 12288")

	_, err = s.Reopen()
	require.ErrorIs(t, err, shm.ErrTruncated)
	require.Len(t, shm.OpenUnder(dir), 1)
	require.NoError(t, s.Close())
}
