package counts

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// most is how many instructions we step at most: some ten times what it takes.
const most = 3_000_000

// Measure counts. errors.ErrUnsupported if the system does not let us step. A thread that
// is stopped may hold a lock of the runtime, so it may take a second try.
func Measure(executable, dir string) (f *File, err error) {
	for range 3 {
		if f, err = measure(executable, dir); err == nil || errors.Is(err, errors.ErrUnsupported) {
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
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, err
	}
	defer unix.SchedSetaffinity(0, &all)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var t tracer
	defer func() {
		cmd.Process.Kill()
		t.detach()
		cmd.Wait()
	}()
	var h hello
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&h); err != nil {
		return nil, fmt.Errorf("the process to step through: %w", err)
	}
	t = tracer{pid: cmd.Process.Pid, tid: h.TID, marks: h.Mark, code: map[uint64]kind{}}
	if err := t.attach(); err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
			return nil, fmt.Errorf("%w: the system does not permit to step through a process: %w", errors.ErrUnsupported, err)
		}
		return nil, err
	}
	// They take turns, which is fastest on one processor.
	var one unix.CPUSet
	for cpu := range len(one) * 64 {
		if one.Count() == 0 && all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := errors.Join(unix.SchedSetaffinity(0, &one), unix.SchedSetaffinity(t.tid, &one)); err != nil {
		return nil, err
	}
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

const patience = 2 * time.Second

type kind int8

const (
	ordinary kind = iota
	locked
	syscalls
)

// tracer steps through one thread of a process whose others are stopped.
type tracer struct {
	pid, tid int
	marks    uintptr
	attached []int
	mem      *os.File
	code     map[uint64]kind
	steps    int
}

func (t *tracer) attach() error {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.pid))
	if err != nil {
		return err
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			return err
		}
		if err := unix.PtraceAttach(tid); err != nil {
			return fmt.Errorf("attach to thread %d: %w", tid, err)
		}
		t.attached = append(t.attached, tid)
		if err := t.wait(tid, nil); err != nil {
			return err
		}
	}
	t.mem, err = os.Open(fmt.Sprintf("/proc/%d/mem", t.pid))
	return err
}

// detach takes note of the deaths of the threads, which the process waits for.
func (t *tracer) detach() {
	for _, tid := range t.attached {
		if tid != t.pid {
			unix.Wait4(tid, nil, unix.WALL, nil)
		}
	}
	if t.mem != nil {
		t.mem.Close()
	}
}

func (t *tracer) wait(tid int, signal *unix.Signal) error {
	var s unix.WaitStatus
	for began, n := time.Now(), 0; ; n++ {
		got, err := unix.Wait4(tid, &s, unix.WALL|unix.WNOHANG, nil)
		if err != nil {
			return fmt.Errorf("wait for thread %d: %w", tid, err)
		}
		if got == tid {
			break
		}
		unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		if n > 1000 { // it waits for something, maybe for one of those that are stopped
			time.Sleep(100 * time.Microsecond)
			if time.Since(began) > patience {
				return fmt.Errorf("thread %d does not go on for %v, after %d instructions", tid, patience, t.steps)
			}
		}
	}
	if !s.Stopped() {
		return fmt.Errorf("thread %d ended: %v", tid, s)
	}
	if signal != nil {
		*signal = s.StopSignal()
	}
	return nil
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
	var deliver unix.Signal
	for ; t.steps < most; t.steps++ {
		if err := step(t.tid, deliver); err != nil {
			return c, fmt.Errorf("step: %w", err)
		}
		var signal unix.Signal
		if err := t.wait(t.tid, &signal); err != nil {
			return c, err
		}
		if deliver = signal; signal == unix.SIGTRAP || signal == unix.SIGSTOP {
			deliver = 0
		}
		var regs unix.PtraceRegs
		if err := unix.PtraceGetRegs(t.tid, &regs); err != nil {
			return c, fmt.Errorf("registers: %w", err)
		}
		c.Instructions++
		switch t.what(regs.Rip) {
		case locked:
			c.Locked++
		case syscalls:
			c.Syscalls++
		}
		if regs.Rip == uint64(t.marks) {
			return c, nil
		}
	}
	return c, fmt.Errorf("not done after %d instructions", most)
}

func step(tid int, signal unix.Signal) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SINGLESTEP, uintptr(tid), 0, uintptr(signal), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// what kind of instruction comes next.
func (t *tracer) what(at uint64) kind {
	k, known := t.code[at]
	if !known {
		var b [16]byte
		t.mem.ReadAt(b[:], int64(at))
		k = decode(b[:])
		t.code[at] = k
	}
	return k
}

func decode(b []byte) kind {
	for i, c := range b {
		switch {
		case c == 0xF0: // LOCK
			return locked
		case c == 0x66 || c == 0x67 || c == 0xF2 || c == 0xF3 || c&0xF0 == 0x40: // prefixes
		case (c == 0x86 || c == 0x87) && i+1 < len(b) && b[i+1]>>6 != 3: // XCHG with memory
			return locked
		case c == 0x0F && i+1 < len(b) && b[i+1] == 0x05:
			return syscalls
		default:
			return ordinary
		}
	}
	return ordinary
}
