package counts

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/stepper"
)

// most is how many instructions we step at most: some ten times what it takes.
const most = 3_000_000

// Measure counts. errors.ErrUnsupported if the system does not let us step. A thread that
// is stopped may hold a lock of the runtime, so it may take a second try, with rings of its own: the
// consumer of the first one's would be told that their producer has died.
func Measure(executable, dir string) (f *File, err error) {
	for try := range 3 {
		own := filepath.Join(dir, strconv.Itoa(try))
		if err = os.Mkdir(own, 0o700); err != nil {
			break
		}
		if f, err = measure(executable, own); err == nil || errors.Is(err, errors.ErrUnsupported) {
			break
		}
	}
	return f, err
}

func measure(executable, dir string) (*File, error) {
	cmd := exec.Command(executable, ChildCommand, dir)
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	// The tracer is a thread, and so is the parent that Pdeathsig means.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var t tracer
	defer func() {
		cmd.Process.Kill()
		if t.thread != nil {
			t.thread.Reap()
		}
		cmd.Wait()
	}()
	var h hello
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&h); err != nil {
		return nil, fmt.Errorf("the process to step through: %w", err)
	}
	t.marks = uint64(h.Mark)
	t.thread, err = stepper.Seize(cmd.Process.Pid, h.TID, patience, func() { cmd.Process.Kill() })
	if err == nil {
		err = errors.Join(t.thread.Interrupt(), t.thread.StopOthers())
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		return nil, fmt.Errorf("%w: the system does not permit to step through a process: %w", errors.ErrUnsupported, err)
	}
	if err != nil {
		return nil, err
	}
	apart, err := together(h.TID)
	if err != nil {
		return nil, err
	}
	defer apart()
	if _, err := in.Write([]byte{1}); err != nil {
		return nil, err
	}
	f := &File{Go: runtime.Version(), Arch: runtime.GOARCH, Counts: map[string]Count{}}
	var overhead Count
	for i, name := range h.Names {
		c, err := t.operation()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if i == 0 {
			overhead = c // of calling anything between two marks
			continue
		}
		f.Counts[name] = Count{c.Instructions - overhead.Instructions, c.Locked - overhead.Locked,
			c.Syscalls - overhead.Syscalls, h.Allocs[i]}
	}
	return f, nil
}

// together puts this thread and another on one processor: they take turns, which is
// fastest there. It returns what gives this thread all its processors back.
func together(tid int) (apart func(), err error) {
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, err
	}
	for cpu := range len(one) * 64 {
		if one.Count() == 0 && all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := errors.Join(unix.SchedSetaffinity(0, &one), unix.SchedSetaffinity(tid, &one)); err != nil {
		return nil, err
	}
	return func() { _ = unix.SchedSetaffinity(0, &all) }, nil
}

const patience = 2 * time.Second

// tracer counts the instructions between two marks of one thread.
type tracer struct {
	thread *stepper.Stepper
	marks  uint64
	steps  int
}

// operation counts one: the median of its repeats.
func (t *tracer) operation() (Count, error) {
	var all []Count
	for range repeats {
		if _, err := t.untilMark(); err != nil {
			return Count{}, err
		}
		c, err := t.untilMark()
		if err != nil {
			return Count{}, err
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Count) int { return a.Instructions - b.Instructions })
	return all[len(all)/2], nil
}

// untilMark steps to the next call of mark.
func (t *tracer) untilMark() (c Count, err error) {
	for ; t.steps < most; t.steps++ {
		if err := t.thread.Step(); err != nil {
			return c, fmt.Errorf("after %d instructions: %w", t.steps, err)
		}
		at, kind, err := t.thread.Next()
		if err != nil {
			return c, err
		}
		c.Instructions++
		switch kind {
		case stepper.Locked:
			c.Locked++
		case stepper.Syscall:
			c.Syscalls++
		}
		if at == t.marks {
			return c, nil
		}
	}
	return c, fmt.Errorf("not done after %d instructions", most)
}
