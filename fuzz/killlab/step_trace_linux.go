package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/fuzz/internal/labs"
)

// tracer single-steps one thread of a child while the others stand still: then nothing
// of the Go runtime's own gets in between, and one run is like the other. The kernel
// wants all its calls from the thread that began to trace.
type tracer struct {
	c      *child
	tid    int
	signal unix.Signal     // to be passed on when the thread goes on
	called bool            // it has stopped at the begin or the end of a system call
	frozen []int           // the other threads
	watch  *time.Timer     // kills the child when it does not get on for labs.Patience
	kernel map[uint64]bool // by address: is there an instruction that calls the kernel?
}

// errGone: mostly the watch has killed it.
var errGone = errors.New("the traced thread has ended")

// seize takes hold of a child that has written its thread into the journal, tells it
// to go on, and returns when it is about to begin.
func seize(c *child) (*tracer, error) {
	t := &tracer{c: c, tid: int(c.j.get(extra)), kernel: map[uint64]bool{}}
	if err := unix.PtraceSeize(t.tid); err != nil {
		return nil, fmt.Errorf("ptrace: %w", err)
	}
	t.watch = time.AfterFunc(labs.Patience, func() { c.Signal(unix.SIGKILL) })
	c.j.set(command, 1)
	if err := t.stop(t.tid); err != nil { // at its breakpoint
		return t, err
	}
	if err := unix.PtraceSetOptions(t.tid, unix.PTRACE_O_EXITKILL|unix.PTRACE_O_TRACESYSGOOD); err != nil {
		return t, fmt.Errorf("ptrace: %w", err)
	}
	if err := t.freeze(); err != nil {
		return t, err
	}
	for c.j.get(phase) < begun {
		if err := t.step(); err != nil {
			return t, err
		}
	}
	return t, nil
}

// freeze stops the other threads. Only they could start new ones.
func (t *tracer) freeze() error {
	for again := true; again; {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.c.PID()))
		if err != nil {
			return err
		}
		again = false
		for _, e := range list {
			tid, err := strconv.Atoi(e.Name())
			if err != nil || tid == t.tid || slices.Contains(t.frozen, tid) {
				continue
			}
			if err := unix.PtraceSeize(tid); err != nil {
				return fmt.Errorf("ptrace: %w", err)
			}
			t.frozen = append(t.frozen, tid)
			if err := unix.PtraceInterrupt(tid); err != nil {
				return fmt.Errorf("ptrace: interrupt: %w", err)
			}
			if tid == t.c.PID() {
				continue // see reap; it will have stopped when it next comes out of the kernel
			}
			if err := t.stop(tid); err != nil {
				return err
			}
			again = true
		}
	}
	t.signal = 0
	return nil
}

// step lets the thread execute one instruction.
func (t *tracer) step() error {
	for {
		// PtraceSingleStep cannot pass on a signal.
		_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SINGLESTEP, uintptr(t.tid), 0, uintptr(t.signal), 0, 0)
		if e != 0 {
			return fmt.Errorf("ptrace: single step: %w", e)
		}
		if err := t.stop(t.tid); err != nil || t.signal == 0 {
			return err
		}
	}
}

// forward lets the thread go on until n system calls are done.
func (t *tracer) forward(n int) error {
	for ends := 0; ends < 2*n; {
		if err := unix.PtraceSyscall(t.tid, int(t.signal)); err != nil {
			return fmt.Errorf("ptrace: go on to a system call: %w", err)
		}
		if err := t.stop(t.tid); err != nil {
			return err
		}
		if t.called {
			ends++
		}
	}
	return nil
}

// stop waits until a thread has stopped.
func (t *tracer) stop(tid int) error {
	t.watch.Reset(labs.Patience)
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(tid, &status, unix.WALL, nil)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return fmt.Errorf("wait for a traced thread: %w", err)
		}
	}
	if !status.Stopped() {
		return errGone
	}
	const call = unix.SIGTRAP | 0x80
	t.signal = status.StopSignal()
	if t.called = t.signal == call; t.called || t.signal == unix.SIGTRAP {
		t.signal = 0
	}
	return nil
}

// callsKernel tells whether the instruction at an address enters the kernel.
func (t *tracer) callsKernel(at uint64) (bool, error) {
	known, ok := t.kernel[at]
	if ok {
		return known, nil
	}
	var code [len(kernelCall)]byte
	if _, err := unix.PtracePeekText(t.tid, uintptr(at), code[:]); err != nil {
		return false, fmt.Errorf("ptrace: read the code: %w", err)
	}
	t.kernel[at] = string(code[:]) == kernelCall
	return t.kernel[at], nil
}

// same compares addresses: of the code that the kernel maps into each process, only
// the place in the page is the same in all of them.
func same(a, b uint64) bool {
	const kernelsOwn = 1 << 40
	return a == b || a > kernelsOwn && b > kernelsOwn && a%4096 == b%4096
}

// kill kills the child where it stands.
func (t *tracer) kill() {
	t.c.Signal(unix.SIGKILL)
	t.reap(t.tid)
	for _, tid := range t.frozen {
		t.reap(tid)
	}
	t.watch.Stop()
	t.c.kill()
}

// reap takes a dead thread off the tracer's hands: until then its process cannot
// be waited for. The first thread of a process is the process: its death is
// left to Child.Wait, and to wait for it here while others of its threads are dead and
// not reaped would be to wait for ever.
func (t *tracer) reap(tid int) {
	if tid == t.c.PID() {
		return
	}
	for t.stop(tid) == nil {
		_ = unix.PtraceCont(tid, 0)
	}
}

// release lets the child go on by itself.
func (t *tracer) release() error {
	t.watch.Stop()
	for _, tid := range append(t.frozen, t.tid) {
		if err := unix.PtraceDetach(tid); err != nil {
			return fmt.Errorf("ptrace: detach: %w", err)
		}
	}
	return nil
}
