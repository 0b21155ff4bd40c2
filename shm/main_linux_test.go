package shm_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/shm"
)

// The test binary runs itself to get further processes: with envChild set it is one
// of these, in the directory envDir.
const (
	envChild = "SHM_TEST_CHILD"
	envDir   = "SHM_TEST_DIR"
)

var children = map[string]func(dir string) error{
	"hold":         childHold,
	"contend":      childContend,
	"remove":       func(dir string) error { return childRemove(dir, 0) },
	"removehalf":   func(dir string) error { return childRemove(dir, 1) },
	"openorcreate": childOpenOrCreate,
	"fsize":        childFileSize,
	"stuck":        childStuckInFormat,
	"stuckhidden":  func(dir string) error { shm.RefuseTmpFile(); return childStuckInFormat(dir) },
	"replace":      childReplace,
	"replacekill":  func(dir string) error { shm.RefuseTmpFile(); return childReplace(dir) },
	"descriptors":  childDescriptors,
	"forget":       childForget,
}

func TestMain(m *testing.M) {
	if mode := os.Getenv(envChild); mode != "" {
		if err := children[mode](os.Getenv(envDir)); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if os.Getenv(shm.EnvLocks) == "" {
		code = max(code, runWithFlock())
	}
	if left, _ := filepath.Glob(filepath.Join(shm.DefaultDir, shm.ScratchPrefix+"*")); len(left) > 0 {
		fmt.Println("left behind:", left)
		code = 1
	}
	os.Exit(code)
}

// runWithFlock runs the same tests again with the other kind of life locks, in another
// process of this program.
func runWithFlock() int {
	if flag.Lookup("test.list").Value.String() != "" {
		return 0
	}
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(arg string) bool { // files that we write ourselves
		return strings.HasPrefix(arg, "-test.coverprofile") || strings.HasPrefix(arg, "-test.testlogfile")
	})
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), shm.EnvLocks+"="+shm.Flock.String())
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Println("with flock:", err)
		return 1
	}
	return 0
}

// process is a child that talks in lines and ends when its input does.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

func start(t *testing.T, mode, dir string) *process {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envChild+"="+mode, envDir+"="+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{t: t, cmd: cmd, stdin: stdin, out: bufio.NewReader(stdout)}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return p
}

func (p *process) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	require.NoError(p.t, err, "the child ended: %q", line)
	return strings.TrimSuffix(line, "\n")
}

// kill sends SIGKILL and does not wait: the child may stay a zombie.
func (p *process) kill() { require.NoError(p.t, p.cmd.Process.Signal(unix.SIGKILL)) }

func untilInputEnds() { _, _ = io.Copy(io.Discard, os.Stdin) }

func childHold(dir string) error {
	s, err := shm.Open(context.Background(), "a", 1, &shm.Options{Dir: dir})
	if err != nil {
		return err
	}
	ok, err := s.TryLock(7)
	if err != nil {
		return err
	}
	fmt.Println("locked", ok)
	untilInputEnds()
	return s.Close()
}

func childOpenOrCreate(dir string) error {
	untilInputEnds() // the starting gun
	s, created, err := openOrCreate(context.Background(), dir)
	if err != nil {
		return err
	}
	st, err := os.Stat(s.Path())
	if err != nil {
		return err
	}
	fmt.Println(created, st.Sys().(*syscall.Stat_t).Ino, intact(s.Bytes()))
	return nil
}

func childFileSize(dir string) error {
	limit := unix.Rlimit{Cur: 64 << 10, Max: 64 << 10}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	_, err := shm.Create(context.Background(), "a", 1<<20, &shm.Options{Dir: dir}, nil)
	typed, ok := errors.AsType[*shm.LimitError](err)
	if !ok {
		return fmt.Errorf("got %w", err)
	}
	fmt.Println(typed.Resource, typed.Need, typed.Limit, errors.Is(err, unix.EFBIG))
	fmt.Println(err)
	return nil
}

func childStuckInFormat(dir string) error {
	_, err := shm.Create(context.Background(), "a", 1<<20, &shm.Options{Dir: dir}, func([]byte, shm.Locks) error {
		fmt.Println("formatting")
		untilInputEnds()
		return nil
	})
	return err
}

// childContend takes and leaves a lock many times, in files that come and go, and makes
// sure that it is the only holder.
func childContend(dir string) error {
	untilInputEnds()
	for n := range 300 {
		s, _, err := openOrCreate(context.Background(), dir)
		if err != nil {
			return err
		}
		ok, err := s.TryLock(n % 2)
		if err != nil {
			return err
		}
		inside := &s.Bytes()[n%2]
		if ok && *inside == 0xFF {
			return errors.New("two holders")
		}
		if before := *inside; ok {
			*inside = 0xFF
			runtime.Gosched()
			*inside = before
		}
		if ok && n%3 == 0 {
			if err := s.Unlock(n % 2); err != nil {
				return err
			}
		}
		if err := s.Close(); err != nil {
			return err
		}
		if err := shm.Remove(context.Background(), "a", &shm.Options{Dir: dir}); err != nil && !errors.Is(err,
			shm.ErrBusy) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	fmt.Println("one at a time")
	return nil
}

// childRemove removes, and stops before it unlinks one more than done files.
func childRemove(dir string, done int) error {
	shm.BeforeUnlink(func() {
		if done--; done < 0 {
			fmt.Println("removing")
			untilInputEnds()
		}
	})
	return shm.Remove(context.Background(), "a", &shm.Options{Dir: dir})
}

func childDescriptors(dir string) error {
	fmt.Println(len(shm.OpenUnder(dir)))
	return nil
}

const patternSize = 3 * 4096

// pattern formats memory so that intact can tell a complete segment from a started one.
func pattern(mem []byte, _ shm.Locks) error {
	for i := range mem {
		if mem[i] != 0 {
			return fmt.Errorf("byte %d is %d before formatting", i, mem[i])
		}
		mem[i] = byte(i%251) + 1
	}
	return nil
}

func intact(mem []byte) bool {
	for i := range mem {
		if mem[i] != byte(i%251)+1 {
			return false
		}
	}
	return len(mem) == patternSize
}

func openOrCreate(ctx context.Context, dir string) (s *shm.Segment, created bool, err error) {
	opt := &shm.Options{Dir: dir}
	for {
		s, err = shm.Open(ctx, "a", patternSize, opt)
		if !errors.Is(err, fs.ErrNotExist) {
			return s, false, err
		}
		s, err = shm.Create(ctx, "a", patternSize, opt, pattern)
		if !errors.Is(err, fs.ErrExist) {
			return s, true, err
		}
	}
}

func mustCreate(t *testing.T, dir string, size int64) *shm.Segment {
	t.Helper()
	s, err := shm.Create(t.Context(), "a", size, &shm.Options{Dir: dir}, pattern)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func mustOpen(t *testing.T, dir string) *shm.Segment {
	t.Helper()
	s, err := shm.Open(t.Context(), "a", 1, &shm.Options{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func isLocked(t require.TestingT, s *shm.Segment, i int) bool {
	held, err := s.Held(i)
	require.NoError(t, err)
	return held
}

// eventually waits for something that the kernel or the collector does in its own time.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, 10*time.Second, time.Millisecond, what)
}
