package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	// ErrInterrupted is the cause of a context that a first signal has ended.
	ErrInterrupted = errors.New("interrupted")
	// ErrTerminated is ErrInterrupted where the signal was SIGTERM: it comes from those that
	// end services, who have ended what feeds this process as well.
	ErrTerminated = fmt.Errorf("%w by SIGTERM", ErrInterrupted)
)

// sameFor is how long others than the first signal are the first: timeout(1) signals its child
// and then the group that it is in, systemd may send SIGHUP behind SIGTERM, and a terminal sends
// to a pipeline what a shell sends again. A person who asks twice takes longer.
const sameFor = 500 * time.Millisecond

// ends is what signals do that end a program.
type ends struct {
	hangups *hangups
	first   func(cause error)
	abort   func()
}

func (e *ends) follow(signals <-chan os.Signal) {
	var begin time.Time // of the end
	for s := range signals {
		switch {
		case s == syscall.SIGHUP && e.hangups.take():
		case begin.IsZero():
			begin = time.Now()
			e.first(cause(s))
		case time.Since(begin) >= sameFor:
			e.abort()
			return
		}
	}
}

func cause(s os.Signal) error {
	if s == syscall.SIGTERM {
		return ErrTerminated
	}
	return ErrInterrupted
}

// hangups are the SIGHUPs of a process.
type hangups struct {
	signals  chan<- os.Signal
	asked    chan struct{}
	taken    atomic.Bool
	terminal bool // that hangs up when it goes
}

type hangupsKey struct{}

// Hangups makes SIGHUP ask for files to be opened anew, as it asks daemons, rather than end ctx.
// The channel gets something then. Not if the signal says that the terminal is gone which the
// program was started from; but where nohup has it ignored, SIGHUP can still ask.
func Hangups(ctx context.Context) <-chan struct{} {
	h, ok := ctx.Value(hangupsKey{}).(*hangups)
	if !ok {
		return nil
	}
	h.terminal = !signal.Ignored(syscall.SIGHUP) && hasTerminal()
	h.taken.Store(true)
	signal.Notify(h.signals, syscall.SIGHUP)
	return h.asked
}

// take takes a SIGHUP, if it does not end the program.
func (h *hangups) take() bool {
	if !h.taken.Load() || h.terminal && !hasTerminal() {
		return false
	}
	select {
	case h.asked <- struct{}{}:
	default: // asked for already
	}
	return true
}

// hasTerminal reports whether this process has a controlling terminal, which can hang up.
func hasTerminal() bool {
	f, err := os.Open("/dev/tty")
	return err == nil && f.Close() == nil
}
