package shm_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/shm"
)

func TestCreateOpenReopenSeeTheSameBytes(t *testing.T) {
	dir := shm.ScratchDir(t)
	created := mustCreate(t, dir, patternSize)
	opened := mustOpen(t, dir)
	reopened, err := opened.Reopen()
	require.NoError(t, err)
	defer func() { require.NoError(t, reopened.Close()) }()

	all := []*shm.Segment{created, opened, reopened}
	for i, s := range all {
		require.True(t, i > 0 || intact(s.Bytes()))
		require.Equal(t, "a", s.Name())
		require.Equal(t, dir+"/a.shmring", s.Path())
		require.Len(t, s.Bytes(), patternSize)
		require.NoError(t, s.Check())
		s.Bytes()[100+i] = byte(200 + i)
		for _, other := range all {
			require.Equal(t, byte(200+i), other.Bytes()[100+i])
			require.True(t, s == other || &s.Bytes()[0] != &other.Bytes()[0], "each handle has its own mapping")
		}
	}
	require.True(t, created.Applied().TmpFile)
	require.Equal(t, "fallocate", created.Applied().Allocated)
	require.Equal(t, "not asked", created.Applied().Prefault.String())
	require.Equal(t, shm.Applied{Locks: created.Applied().Locks}, opened.Applied())
}

func TestCreateAllocatesEveryPage(t *testing.T) {
	dir := shm.ScratchDir(t)
	for name, size := range map[string]int64{"one": 1, "odd": 4097, "chunks": 9<<20 + 123} {
		s, err := shm.Create(t.Context(), name, size, &shm.Options{Dir: dir}, nil)
		require.NoError(t, err)
		require.Len(t, s.Bytes(), int(size))
		st, err := os.Stat(s.Path())
		require.NoError(t, err)
		require.Equal(t, size, st.Size())
		require.GreaterOrEqual(t, st.Sys().(*syscall.Stat_t).Blocks*512, size, "the file is sparse")
		require.NoError(t, s.Close())
	}
}

func TestCreateRefusesAnExistingName(t *testing.T) {
	dir := shm.ScratchDir(t)
	opt := &shm.Options{Dir: dir}
	never := func([]byte, shm.Locks) error { panic("formatted although the name exists") }

	mustCreate(t, dir, patternSize)
	_, err := shm.Create(t.Context(), "a", 1, opt, never)
	require.ErrorIs(t, err, fs.ErrExist)

	require.NoError(t, os.Symlink("/nowhere", dir+"/dangling.shmring"))
	_, err = shm.Create(t.Context(), "dangling", 1, opt, never)
	require.ErrorIs(t, err, fs.ErrExist)
}

// The name appears between the first look and the link: the link decides.
func TestCreateLosesTheRaceAtTheLink(t *testing.T) {
	dir := shm.ScratchDir(t)
	_, err := shm.Create(t.Context(), "a", patternSize, &shm.Options{Dir: dir}, func(mem []byte, _ shm.Locks) error {
		mustCreate(t, dir, patternSize)
		return nil
	})
	require.ErrorIs(t, err, fs.ErrExist)
	require.Equal(t, []string{"a.shmring"}, shm.Names(t, dir))
	require.True(t, intact(mustOpen(t, dir).Bytes()), "the winner's file is untouched")
}

func TestCreateIsInvisibleUntilFormatted(t *testing.T) {
	dir := shm.ScratchDir(t)
	_, err := shm.Create(t.Context(), "a", patternSize, &shm.Options{Dir: dir}, func(mem []byte, _ shm.Locks) error {
		_, err := shm.Open(t.Context(), "a", 1, &shm.Options{Dir: dir})
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.Empty(t, shm.Names(t, dir))
		return errors.New("changed my mind")
	})
	require.ErrorContains(t, err, "changed my mind")
	require.Empty(t, shm.Names(t, dir))
}

func TestCreateLeavesNothingWhenFormatPanics(t *testing.T) {
	dir := shm.ScratchDir(t)
	require.PanicsWithValue(t, "oops", func() {
		_, _ = shm.Create(t.Context(), "a", 4096, &shm.Options{Dir: dir}, func([]byte, shm.Locks) error { panic("oops") })
	})
	require.Empty(t, shm.Names(t, dir))
	require.Empty(t, shm.OpenUnder(dir))
	require.Empty(t, shm.MappedUnder(dir))
}

func TestCreatorKilledInFormatLeavesNothing(t *testing.T) {
	dir := shm.ScratchDir(t)
	p := start(t, "stuck", dir)
	require.Equal(t, "formatting", p.line())
	p.kill()
	_ = p.cmd.Wait()
	require.Empty(t, shm.Names(t, dir))
}

// Without O_TMPFILE a hidden file is left, which is in nobody's way.
func TestCreatorKilledInFormatLeavesAHiddenFile(t *testing.T) {
	dir := shm.ScratchDir(t)
	p := start(t, "stuckhidden", dir)
	require.Equal(t, "formatting", p.line())
	p.kill()
	_ = p.cmd.Wait()
	names := shm.Names(t, dir)
	require.Len(t, names, 1)
	require.Regexp(t, `^\.a\.[0-9a-f]{16}\.tmp$`, names[0])
	_, err := shm.Open(t.Context(), "a", 1, &shm.Options{Dir: dir})
	require.ErrorIs(t, err, fs.ErrNotExist)
	mustCreate(t, dir, patternSize)
	require.True(t, intact(mustOpen(t, dir).Bytes()))
}

func TestModeIgnoresUmask(t *testing.T) {
	for _, umask := range []int{0, 0o077, 0o777} {
		dir := shm.ScratchDir(t)
		for mode, want := range map[fs.FileMode]fs.FileMode{0: 0o600, 0o660: 0o660, 0o640: 0o640, 0o600: 0o600} {
			before := unix.Umask(umask)
			s, err := shm.Create(t.Context(), "a", 1, &shm.Options{Dir: dir, Perm: mode}, nil)
			unix.Umask(before)
			require.NoError(t, err)
			st, err := os.Stat(s.Path())
			require.NoError(t, err)
			require.Equal(t, want, st.Mode(), "umask %#o", umask)
			require.NoError(t, s.Close())
			require.NoError(t, shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}))
		}
	}
}

func TestCreateRefusesArguments(t *testing.T) {
	dir := shm.ScratchDir(t)
	create := func(ctx context.Context, name string, size int64, opt shm.Options) error {
		opt.Dir = dir
		_, err := shm.Create(ctx, name, size, &opt, nil)
		return err
	}
	for _, mode := range []fs.FileMode{0o602, 0o666, 0o777, fs.ModeSetuid | 0o600, fs.ModeDir | 0o600} {
		require.ErrorIs(t, create(t.Context(), "a", 1, shm.Options{Perm: mode}), fs.ErrInvalid, "%v", mode)
	}
	for _, size := range []int64{0, -1, -1 << 63, shm.MaxSize + 1, 1<<63 - 1} {
		require.ErrorIs(t, create(t.Context(), "a", size, shm.Options{}), fs.ErrInvalid, "%d", size)
	}
	require.ErrorIs(t, create(t.Context(), "../a", 1, shm.Options{}), fs.ErrInvalid)

	done, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, create(done, "a", 1, shm.Options{}), context.Canceled)
	require.Empty(t, shm.Names(t, dir))
}

func TestCreateWithoutDirectory(t *testing.T) {
	dir := shm.ScratchDir(t)
	require.NoError(t, os.WriteFile(dir+"/plain", nil, 0o600))
	for gone, want := range map[string]error{"/gone": fs.ErrNotExist, "/plain": unix.ENOTDIR} {
		_, err := shm.Create(t.Context(), "a", 1, &shm.Options{Dir: dir + gone}, nil)
		require.ErrorIs(t, err, want)
		require.ErrorContains(t, err, dir+gone+" must be an existing directory; set Options.Dir or SHMRING_DIR")
	}
}

func TestLongestNameFits(t *testing.T) {
	dir := shm.ScratchDir(t)
	s, err := shm.Create(t.Context(), strings.Repeat("n", shm.MaxName), 1, &shm.Options{Dir: dir}, nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestDirFromEnvironment(t *testing.T) {
	dir := shm.ScratchDir(t)
	t.Setenv(shm.EnvDir, dir)
	s, err := shm.Create(t.Context(), "a", 1, nil, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"a.shmring"}, shm.Names(t, dir))
	require.NoError(t, s.Close())
	require.NoError(t, shm.Remove(t.Context(), "a", nil))
}

func TestOnDisk(t *testing.T) {
	dir := t.TempDir()
	mustCreate(t, dir, patternSize)
	require.True(t, intact(mustOpen(t, dir).Bytes()))
}
