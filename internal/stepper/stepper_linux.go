package stepper

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Stepper is one thread that is single-stepped.
type Stepper struct {
	pid, tid int
	others   Stopped
	patience time.Duration
	watch    *time.Timer
	signal   unix.Signal // to be passed on when the thread goes on
	called   bool        // it has stopped at the begin or the end of a system call
	code     map[uint64]Kind
}

// ErrGone says that the thread has ended. Mostly it did not get on, and was killed for it.
var ErrGone = errors.New("the traced thread has ended")

// Seize takes hold of a thread, which goes on. kill
// is called, by another goroutine, when it does not stop again within the patience, and
// must end the process.
func Seize(pid, tid int, patience time.Duration, kill func()) (*Stepper, error) {
	s := &Stepper{pid: pid, tid: tid, patience: patience, code: map[uint64]Kind{}}
	if err := unix.PtraceSeize(tid); err != nil {
		return nil, fmt.Errorf("ptrace: seize: %w", err)
	}
	s.watch = time.AfterFunc(patience, kill)
	return s, nil
}

// Interrupt stops the thread wherever it is.
func (s *Stepper) Interrupt() error {
	if err := unix.PtraceInterrupt(s.tid); err != nil {
		return fmt.Errorf("ptrace: interrupt: %w", err)
	}
	return s.Stopped()
}

// Stopped waits until the thread has stopped by itself, at a breakpoint.
func (s *Stepper) Stopped() error {
	if err := s.stop(s.tid); err != nil {
		return err
	}
	if err := unix.PtraceSetOptions(s.tid, unix.PTRACE_O_EXITKILL|unix.PTRACE_O_TRACESYSGOOD); err != nil {
		return fmt.Errorf("ptrace: options: %w", err)
	}
	return nil
}

// StopOthers stops the other threads: then nothing of the Go runtime's own gets in
// between, and one run is like the other.
func (s *Stepper) StopOthers() (err error) {
	s.others, err = Stop(s.pid, s.tid)
	s.signal = 0
	return err
}

// Step lets the thread execute one instruction.
func (s *Stepper) Step() error {
	for {
		// PtraceSingleStep cannot pass on a signal.
		_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SINGLESTEP, uintptr(s.tid), 0, uintptr(s.signal), 0, 0)
		if e != 0 {
			return fmt.Errorf("ptrace: single step: %w", e)
		}
		if err := s.stop(s.tid); err != nil || s.signal == 0 {
			return err
		}
	}
}

// Forward lets the thread go on until n system calls are done.
func (s *Stepper) Forward(n int) error {
	for ends := 0; ends < 2*n; {
		if err := unix.PtraceSyscall(s.tid, int(s.signal)); err != nil {
			return fmt.Errorf("ptrace: go on to a system call: %w", err)
		}
		if err := s.stop(s.tid); err != nil {
			return err
		}
		if s.called {
			ends++
		}
	}
	return nil
}

// stop waits until a thread has stopped.
func (s *Stepper) stop(tid int) error {
	s.watch.Reset(s.patience)
	status, err := wait(tid)
	if err != nil {
		return err
	}
	const call = unix.SIGTRAP | 0x80
	s.signal = status.StopSignal()
	if s.called = s.signal == call; s.called || s.signal == unix.SIGTRAP {
		s.signal = 0
	}
	return nil
}

// Next is what kind of instruction comes next, and its address.
func (s *Stepper) Next() (at uint64, k Kind, err error) {
	if at, err = s.address(); err != nil {
		return 0, 0, err
	}
	k, known := s.code[at]
	if !known {
		var b [16]byte
		if _, err := unix.PtracePeekText(s.tid, uintptr(at), b[:]); err != nil {
			return at, 0, fmt.Errorf("ptrace: read the code: %w", err)
		}
		k = decode(b[:])
		s.code[at] = k
	}
	return at, k, nil
}

// Reap takes the dead threads of a process that was killed off the tracer's hands: until
// then the process cannot be waited for. Its first thread is the process: that death is
// left to whoever waits for the process, and to wait for it here while others of its
// threads are dead and not reaped would be to wait for ever.
func (s *Stepper) Reap() {
	for _, tid := range append(s.others.tids, s.tid) {
		for tid != s.pid && s.stop(tid) == nil {
			_ = unix.PtraceCont(tid, 0)
		}
	}
	s.watch.Stop()
}

// Release lets the process go on by itself.
func (s *Stepper) Release() error {
	s.watch.Stop()
	return Stopped{append(s.others.tids, s.tid)}.Release()
}
