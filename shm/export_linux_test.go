package shm

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ScratchPrefix begins the directories that this test process makes in /dev/shm.
var ScratchPrefix = fmt.Sprintf("shm-test-%d-", os.Getpid())

// ScratchDir returns a new directory in /dev/shm, or on disk where there is no such
// thing, and makes sure at the end of the test that no file in it is still open or
// mapped by us.
func ScratchDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(DefaultDir, ScratchPrefix)
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() {
		require.NoError(t, os.RemoveAll(dir))
		require.Empty(t, OpenUnder(dir), "open descriptors left")
		require.Empty(t, MappedUnder(dir), "mappings left")
	})
	return dir
}

// SmallTmpfs mounts a tmpfs with the given options and returns its directory.
func SmallTmpfs(t testing.TB, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mounting a tmpfs (%s) needs root and a kernel that lets us: %v", options, err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

// OpenUnder lists our descriptors that lead to files in dir.
func OpenUnder(dir string) []string {
	var found []string
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, dir+"/") {
			found = append(found, link+" -> "+target)
		}
	}
	return found
}

// MappedUnder lists our mappings of files in dir.
func MappedUnder(dir string) []string {
	var found []string
	maps, _ := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, " "+dir+"/") {
			found = append(found, line)
		}
	}
	return found
}

// Names lists the directory, but for the directories with the locks of segments in it.
func Names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	at, err := openPlace(dir + "/x")
	require.NoError(t, err)
	defer at.close()
	found := at.inodes(names)
	return slices.DeleteFunc(names, func(name string) bool {
		ino, is := lockOwner(name)
		return is && found[ino]
	})
}

// Rings lists the segments in the directory.
func Rings(t testing.TB, dir string) []string {
	t.Helper()
	return slices.DeleteFunc(Names(t, dir), func(name string) bool { return !strings.HasSuffix(name, Suffix) })
}

// Descriptor returns the descriptor of a segment in a file.
func (s *Segment) Descriptor() int { return s.back.(*file).fd }

// LockDescriptors returns the descriptors of the lock files that s holds, if its kind of
// life locks has any, and of their directory.
func (s *Segment) LockDescriptors() []int {
	l, is := s.back.(*file).life.(*flockLocks)
	if !is {
		return nil
	}
	fds := []int{l.dir}
	for _, fd := range l.mine {
		fds = append(fds, fd)
	}
	return fds
}

// BeforeUnlink makes the rest of this process call f before it unlinks a file.
func BeforeUnlink(f func()) {
	sys.unlinkat = func(dir int, name string, flags int) error { f(); return unix.Unlinkat(dir, name, flags) }
}

// RefuseTmpFile makes the rest of this process live without O_TMPFILE.
func RefuseTmpFile() { refuseTmpFile(unix.EOPNOTSUPP)(&sys) }

// WithoutTmpFile is RefuseTmpFile for the length of a test.
func WithoutTmpFile(t testing.TB) { change(t, refuseTmpFile(unix.EOPNOTSUPP)) }

// RefuseRename makes renames fail for the length of a test.
func RefuseRename(t testing.TB, err error) {
	change(t, func(k *kernel) { k.renameat = func(int, string, int, string) error { return err } })
}

// RefuseReopen makes opening a file through /proc fail for the length of a test.
func RefuseReopen(t testing.TB, err error) {
	change(t, func(k *kernel) {
		k.open = func(path string, flags int, perm uint32) (int, error) {
			if strings.HasPrefix(path, "/proc/") {
				return -1, err
			}
			return unix.Open(path, flags, perm)
		}
	})
}

// RefuseMemfd makes memfd_create fail for the length of a test.
func RefuseMemfd(t testing.TB, err error) {
	change(t, func(k *kernel) { k.memfd = func(string, int) (int, error) { return -1, err } })
}

// OldMemfd is for kernels that know no MFD_NOEXEC_SEAL, for the length of a test.
func OldMemfd(t testing.TB) {
	change(t, func(k *kernel) {
		k.memfd = func(name string, flags int) (int, error) {
			if flags&0x8 != 0 {
				return -1, unix.EINVAL
			}
			return unix.MemfdCreate(name, flags)
		}
	})
}

// NoticeSharing tells of each attempt to take an attach lock shared, from now on.
func NoticeSharing(t testing.TB) <-chan struct{} {
	tries := make(chan struct{}, 1)
	change(t, func(k *kernel) {
		k.flock = func(fd, how int) error {
			if how&unix.LOCK_SH != 0 {
				select {
				case tries <- struct{}{}:
				default:
				}
			}
			return unix.Flock(fd, how)
		}
	})
	return tries
}

// change replaces system calls for the length of a test.
func change(t testing.TB, edit func(k *kernel)) {
	t.Helper()
	before := sys
	t.Cleanup(func() { sys = before })
	edit(&sys)
}

// ReadLocks reads a table of locks by a function in place of pread(2).
var ReadLocks = readLocks
