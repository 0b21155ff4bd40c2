//go:build unix

package tool

import (
	"io"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// stops hears of SIGTSTP that others send: the key for it comes as a key. Whoever shows something on the other
// screen gives that back first, and then stops.
type stops struct {
	signals chan os.Signal
	over    chan struct{}
	wait    sync.WaitGroup
}

// stopsByOthers calls stop for each SIGTSTP, until done.
func stopsByOthers(stop func()) *stops {
	s := &stops{signals: make(chan os.Signal, 1), over: make(chan struct{})}
	signal.Notify(s.signals, unix.SIGTSTP)
	s.wait.Go(func() {
		for {
			select {
			case <-s.signals:
				stop()
			case <-s.over:
				return
			}
		}
	})
	return s
}

func (s *stops) done() {
	signal.Stop(s.signals)
	close(s.over)
	s.wait.Wait()
}

// canStop tells whether SIGTSTP would stop us: it does not where nobody is there who could let us go on,
// as under ssh without a shell. The system discards it then, and whoever waits to go on waits for ever.
func canStop() bool {
	parent := os.Getppid()
	own, err := unix.Getsid(0)
	if err != nil {
		return false
	}
	session, err := unix.Getsid(parent)
	if err != nil || session != own {
		return false
	}
	group, err := unix.Getpgid(parent)
	return err == nil && group != unix.Getpgrp()
}

// stopped is a command for the time in which the terminal is somebody else's: it stops our process group, as the
// terminal would, and returns when that goes on. By SIGSTOP: Go's runtime keeps its handler for
// SIGTSTP once somebody has asked for that signal.
type stopped struct{}

// Run implements tea.ExecCommand.
func (stopped) Run() error {
	goesOn := make(chan os.Signal, 1)
	signal.Notify(goesOn, unix.SIGCONT)
	defer signal.Stop(goesOn)
	if err := unix.Kill(0, unix.SIGSTOP); err != nil {
		return os.NewSyscallError("kill", err)
	}
	<-goesOn // another thread may be the one that stops
	return nil
}

func (stopped) SetStdin(io.Reader)  {}
func (stopped) SetStdout(io.Writer) {}
func (stopped) SetStderr(io.Writer) {}
