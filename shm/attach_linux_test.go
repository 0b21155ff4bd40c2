package shm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// addressSpace is how many bytes of it this process has taken.
func addressSpace(t *testing.T) (pages int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	_, err = fmt.Sscan(string(text), &pages)
	require.NoError(t, err)
	return pages * os.Getpagesize()
}

// grown is a file of one page of ones, which somebody has made as long as it can be.
func grown(t *testing.T) (dir string) {
	t.Helper()
	dir = ScratchDir(t)
	require.NoError(t, os.WriteFile(dir+"/a.shmring", []byte(strings.Repeat("\x01", 4096)), 0o600))
	require.NoError(t, os.Truncate(dir+"/a.shmring", MaxSize))
	return dir
}

// A file that is refused takes no address space: a process that tries again and again would
// run out of it, and die at its next allocation.
func TestRefusedOpensTakeNoAddressSpace(t *testing.T) {
	dir := grown(t)
	sparse := &Options{Dir: dir}
	corrupt := errors.New("corrupt")
	judged := &Options{Dir: dir, Fixed: 128, Judge: func(fixed []byte, length int64) error {
		require.Equal(t, strings.Repeat("\x01", 128), string(fixed))
		require.Equal(t, MaxSize, length)
		return corrupt
	}}
	before := addressSpace(t)
	for range 1000 {
		_, err := Open(t.Context(), "a", 1, judged)
		require.Same(t, corrupt, err)
		_, err = Open(t.Context(), "a", 1, sparse)
		require.ErrorIs(t, err, ErrTruncated)
	}
	const runtimes = 256 << 20 // what the Go runtime may take meanwhile. One file is 4096 times that
	require.Less(t, addressSpace(t)-before, runtimes)
}

// Where only the last step fails, the pages go at once too.
func TestDiscardGivesTheAddressRangeBack(t *testing.T) {
	dir := abandoned(t)
	s, err := Open(t.Context(), "a", 1, &Options{Dir: dir})
	require.NoError(t, err)
	r := RangeOf(s)
	require.True(t, r.Mapped())
	require.NoError(t, s.Discard())
	require.False(t, r.Mapped())
	require.NoError(t, s.Discard())
	require.NoError(t, s.Close())
	require.Nil(t, s.Bytes())
	require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir}))
	require.NoError(t, Heap(8).Discard())
}

func TestHolesAreRefused(t *testing.T) {
	dir := abandoned(t)
	path := dir + "/a.shmring"
	s, err := Open(t.Context(), "a", 1, &Options{Dir: dir})
	require.NoError(t, err)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	if err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 4096); err != nil {
		t.Skipf("no holes here: %v", err)
	}
	if !s.back.(*file).exact {
		t.Skip("this file system does not tell of holes")
	}
	err = s.Check()
	require.ErrorIs(t, err, ErrTruncated)
	require.ErrorContains(t, err, "12288 of its 12293 bytes have memory")
	require.ErrorContains(t, err, "remove it")
	_, err = s.Reopen()
	require.ErrorIs(t, err, ErrTruncated)
	require.NoError(t, s.Close())
	_, err = Open(t.Context(), "a", 1, &Options{Dir: dir})
	require.ErrorIs(t, err, ErrTruncated)
	require.ErrorContains(t, err, path)
	require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir}))
}

// Nothing of a file that is no segment is touched, whatever the options ask for.
func TestJudgedBeforeMapped(t *testing.T) {
	dir := abandoned(t)
	refusal := errors.New("refused")
	change(t, func(k *kernel) {
		k.mmap = func(int, int) (mapping, error) { t.Error("mapped"); return mapping{}, unix.ENOMEM }
		k.madvise = func([]byte, int) error { t.Error("prefaulted"); return nil }
		k.mlock = func([]byte) error { t.Error("locked"); return nil }
	})
	_, err := Open(t.Context(), "a", 1, &Options{Dir: dir, Prefault: true, Mlock: true, Fixed: 8,
		Judge: func([]byte, int64) error { return refusal }})
	require.Same(t, refusal, err)
	_, err = Open(t.Context(), "a", 1, &Options{Dir: dir, Fixed: testSize + 1})
	require.ErrorIs(t, err, ErrTruncated)
	change(t, func(k *kernel) { k.pread = func(int, []byte, int64) (int, error) { return 7, nil } })
	_, err = Open(t.Context(), "a", 1, &Options{Dir: dir, Fixed: 8})
	require.ErrorIs(t, err, ErrTruncated, "it was cut off while we read")
	change(t, func(k *kernel) { k.pread = func(int, []byte, int64) (int, error) { return 0, unix.EIO } })
	_, err = Open(t.Context(), "a", 1, &Options{Dir: dir, Fixed: 8})
	require.ErrorIs(t, err, unix.EIO)
}

// What was judged is what is used: a peer that changes the bytes afterwards is found out.
func TestFixedBytes(t *testing.T) {
	dir := ScratchDir(t)
	opt := &Options{Dir: dir, Fixed: 16}
	ones := func(mem []byte, _ Locks) error { copy(mem, strings.Repeat("\x01", 32)); return nil }
	created, err := Create(t.Context(), "a", testSize, opt, ones)
	require.NoError(t, err)
	opened, err := Open(t.Context(), "a", 1, opt)
	require.NoError(t, err)
	reopened, err := opened.Reopen()
	require.NoError(t, err)
	all := []*Segment{created, opened, reopened}
	check := func(want error) {
		t.Helper()
		for _, s := range all {
			require.Equal(t, strings.Repeat("\x01", 16), string(s.Fixed()))
			require.ErrorIs(t, s.Check(), want)
		}
	}
	check(nil)
	created.Bytes()[16] = 9
	check(nil)
	created.Bytes()[15] = 9
	check(ErrChanged)
	require.ErrorContains(t, opened.Check(), "byte 15 of its header")
	created.Bytes()[15] = 1
	check(nil)
	for _, s := range all {
		require.NoError(t, s.Close())
	}
	require.Nil(t, Heap(8).Fixed())
}

// The file is cut off between the look from outside and that at the bytes.
func TestCheckSurvivesALateTruncation(t *testing.T) {
	dir := ScratchDir(t)
	s, err := Create(t.Context(), "a", testSize, &Options{Dir: dir, Fixed: 64}, nil)
	require.NoError(t, err)
	change(t, func(k *kernel) {
		k.fstatat = func(at int, name string, st *unix.Stat_t, flags int) error {
			require.NoError(t, os.Truncate(s.Path(), 0))
			return unix.Fstatat(at, name, st, flags)
		}
	})
	require.ErrorIs(t, s.Check(), ErrTruncated)
	require.NoError(t, s.Close())
}

func TestPrefaultAndMlockHeedTheContext(t *testing.T) {
	dir := ScratchDir(t)
	const size = 5 * prefaultPiece / 2
	s, err := Create(t.Context(), "a", size, &Options{Dir: dir}, nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for name, opt := range map[string]*Options{"prefault": {Dir: dir, Prefault: true}, "mlock": {Dir: dir, Mlock: true}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var pieces []int
			one := func(p []byte) error {
				if pieces = append(pieces, len(p)); len(pieces) == 2 {
					cancel()
				}
				return nil
			}
			change(t, func(k *kernel) {
				k.madvise = func(p []byte, _ int) error { return one(p) }
				k.mlock = one
			})
			_, err := Open(ctx, "a", 1, opt)
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, []int{prefaultPiece, prefaultPiece}, pieces)
			require.Empty(t, MappedUnder(dir))
			pieces = []int{0, 0}
			s, err := Open(t.Context(), "a", 1, opt)
			require.NoError(t, err)
			require.Equal(t, []int{0, 0, prefaultPiece, prefaultPiece, prefaultPiece / 2}, pieces)
			require.NoError(t, s.Close())
		})
	}
}

// A file with another name may be none of ours.
func TestOtherNamesAreRefused(t *testing.T) {
	dir := abandoned(t)
	path := dir + "/a.shmring"
	require.NoError(t, os.Link(path, dir+"/other"))
	_, err := Open(t.Context(), "a", 1, &Options{Dir: dir})
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "has 2 names: unlink the others (find "+dir)
	s, err := Open(t.Context(), "a", 1, &Options{Dir: dir, AnyOwner: true})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	looks := 0
	change(t, func(k *kernel) {
		k.fstat = func(fd int, st *unix.Stat_t) error {
			if looks++; looks == 5 { // it was being created, see renameHidden
				require.NoError(t, os.Remove(dir+"/other"))
			}
			return unix.Fstat(fd, st)
		}
	})
	s, err = Open(t.Context(), "a", 1, &Options{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// Somebody who may rename a part of the path puts another directory in its place between any two
// steps. Each operation goes on in the directory in which it began, and changes nothing in the other.
func TestPathIsSwapped(t *testing.T) {
	operations := map[string]func(t *testing.T, opt *Options, swap func()) error{
		"create": func(t *testing.T, opt *Options, swap func()) error {
			s, err := Create(t.Context(), "new", 100, opt, func([]byte, Locks) error { swap(); return nil })
			return errors.Join(err, closed(s))
		},
		"open": func(t *testing.T, opt *Options, swap func()) error {
			beforeAttachLock(t, once(swap))
			s, err := Open(t.Context(), "a", 1, opt)
			if err != nil {
				return err
			}
			s.Bytes()[0] = 77
			return errors.Join(s.Check(), s.Close())
		},
		"remove": func(t *testing.T, opt *Options, swap func()) error {
			beforeAttachLock(t, once(swap))
			return Remove(t.Context(), "a", opt)
		},
		"replace": func(t *testing.T, opt *Options, swap func()) error {
			s, err := Open(t.Context(), "a", 1, opt)
			require.NoError(t, err)
			only, err := s.Alone()
			require.NoError(t, err)
			require.True(t, only)
			err = s.Replace(t.Context(), 200, func([]byte) error { swap(); return nil })
			return errors.Join(err, s.Close())
		},
	}
	for name, do := range operations {
		for _, hidden := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				above := ScratchDir(t)
				real, decoy := above+"/rings", above+"/decoy"
				for _, dir := range []string{real, decoy} {
					require.NoError(t, os.Mkdir(dir, 0o700))
					s, err := create(t, dir)
					require.NoError(t, err)
					require.True(t, take(t, s, 0))
					require.NoError(t, s.Close())
				}
				if hidden {
					WithoutTmpFile(t)
				}
				before := snapshot(t, decoy)
				require.NoError(t, do(t, &Options{Dir: real}, func() {
					require.NoError(t, os.Rename(real, above+"/moved"))
					require.NoError(t, os.Rename(decoy, real))
				}))
				require.Equal(t, before, snapshot(t, real), "it was about the decoy")
			})
		}
	}
}

func closed(s *Segment) error {
	if s == nil {
		return nil
	}
	return s.Close()
}

// snapshot is all that is in a directory.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, name := range Names(t, dir) {
		if b, err := os.ReadFile(dir + "/" + name); err == nil {
			found[name] = string(b)
		}
	}
	return found
}

// A file that has two names for a moment may lose the one that was asked for: then that is gone, and
// what is left is another's.
func TestTheOtherNameStays(t *testing.T) {
	dir := ScratchDir(t)
	s, err := create(t, dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, os.Link(s.Path(), dir+"/other"))
	fstat, looks := sys.fstat, 0
	change(t, func(k *kernel) {
		k.fstat = func(fd int, st *unix.Stat_t) error {
			err := fstat(fd, st)
			if st.Nlink > 1 && st.Ino == s.Inode() {
				if looks++; looks == 3 { // behind the look whether the name still means it
					_ = os.Remove(s.Path())
				}
			}
			return err
		}
	})
	_, err = Open(t.Context(), "a", 1, &Options{Dir: dir})
	require.ErrorIs(t, err, fs.ErrNotExist)
}
