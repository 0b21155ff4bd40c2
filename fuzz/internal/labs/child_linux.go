package labs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ChildLimit is when a child ends itself if the lab did not end it.
const ChildLimit = 2 * time.Hour

// Child is a process of the lab's: the same program, which finds its arguments in the
// environment.
type Child struct {
	Cmd *exec.Cmd

	lab    *Lab
	name   string
	stderr lockedBuffer
	drain  func()
	once   sync.Once
	done   chan struct{}
	err    error
}

// lockedBuffer collects what a child writes while somebody may look at it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(l.b.String())
}

// Command is this program as a child with those arguments, not yet started.
func Command(arguments any) (*exec.Cmd, error) {
	text, err := json.Marshal(arguments)
	if err != nil {
		return nil, err
	}
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), ChildEnv+"="+string(text))
	return c, nil
}

// Spawn starts a child. name is for reports. change, if not nil, may alter the command
// before it starts. What change returns, if not nil, is called before the child is reaped
// and must not return before the child's output is read.
func (l *Lab) Spawn(name string, arguments any, change func(*exec.Cmd) (drain func(), err error)) (*Child, error) {
	cmd, err := Command(arguments)
	if err != nil {
		return nil, err
	}
	c := &Child{Cmd: cmd, lab: l, name: name, done: make(chan struct{})}
	cmd.Stderr = &c.stderr
	if change != nil {
		if c.drain, err = change(cmd); err != nil {
			return nil, err
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.children[c] = struct{}{}
	l.pids[c.PID()] = true
	l.most = max(l.most, len(l.children))
	return c, nil
}

// PID is the child's process id.
func (c *Child) PID() int { return c.Cmd.Process.Pid }

// Stderr is what the child has said so far.
func (c *Child) Stderr() string { return c.stderr.String() }

// Signal sends a signal. That the child may be dead is no error.
func (c *Child) Signal(s unix.Signal) { _ = c.Cmd.Process.Signal(s) }

// Wait reaps the child and returns how it ended, with what it said.
func (c *Child) Wait() error {
	c.once.Do(func() {
		if c.drain != nil {
			c.drain()
		}
		c.err = c.Cmd.Wait()
		if text := c.Stderr(); text != "" {
			c.err = errors.Join(c.err, errors.New(text))
		}
		c.lab.mu.Lock()
		delete(c.lab.children, c)
		c.lab.mu.Unlock()
		close(c.done)
	})
	return c.err
}

// Kill sends SIGKILL and reaps the child.
func (c *Child) Kill() {
	c.Signal(unix.SIGKILL)
	_ = c.Wait()
}

// HasEnded reports whether the child was reaped.
func (c *Child) HasEnded() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Ended waits for the child's end and reaps it; it reports false after the limit.
// meanwhile, if not nil, is called now and then.
func (c *Child) Ended(limit time.Duration, meanwhile func()) bool {
	go c.Wait()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return true
		case <-timer.C:
			return false
		case <-tick.C:
			if meanwhile != nil {
				meanwhile()
			}
		}
	}
}

// EndOrStacks is Ended with Patience for a limit. A child that does not end is made to
// write the stacks of its goroutines, and the error has them.
func (c *Child) EndOrStacks(meanwhile func()) error {
	if c.Ended(Patience, meanwhile) {
		return nil
	}
	c.Signal(unix.SIGQUIT)
	if !c.Ended(Patience, meanwhile) {
		c.Kill()
	}
	return fmt.Errorf("%s does not end within %v of being told to: %w", c.name, Patience, c.err)
}

// WasKilled reports whether a child that has ended died of SIGKILL.
func (c *Child) WasKilled() bool {
	status, ok := c.Cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// BeChild reads a child's arguments, and ends the child after two hours and when the lab
// is gone.
func BeChild(text string, arguments any) error {
	lab := os.Getppid()
	time.AfterFunc(ChildLimit, func() { os.Exit(3) })
	go func() {
		for range time.Tick(time.Second) {
			if os.Getppid() != lab {
				os.Exit(3)
			}
		}
	}()
	return json.Unmarshal([]byte(text), arguments)
}
