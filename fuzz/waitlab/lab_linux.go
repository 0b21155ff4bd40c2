package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
	"github.com/shmring/shmring/shm"
)

// lab is what one run of one mode works with. It belongs to the mode's goroutine.
type lab struct {
	ctx   context.Context
	opt   labs.Options
	r     *result
	rng   *rand.Rand
	watch *machine.Watch
	rings string // directory of the rings, on the same file system as real ones
	files string // directory of everything else

	children map[*child]struct{}
	pids     map[int]bool // of all children there ever were, and the lab's own
	most     int          // children at one time: the wait for each takes threads
	made     int          // rings
}

// patience is how long anything may take that must happen at all.
var patience = labs.Patience(10 * time.Second)

func newLab(ctx context.Context, opt labs.Options, r *result) (*lab, error) {
	l := &lab{ctx: ctx, opt: opt, r: r, rng: rand.New(rand.NewPCG(opt.Seed, 0)), children: map[*child]struct{}{}, pids: map[int]bool{os.Getpid(): true}}
	l.watch = machine.NewWatch()
	var err error
	if l.rings, err = os.MkdirTemp(labs.Memory(), "waitlab-*"); err != nil {
		return nil, err
	}
	if l.files, err = os.MkdirTemp("", "waitlab-*"); err != nil {
		return nil, errors.Join(err, os.RemoveAll(l.rings))
	}
	return l, nil
}

// close kills what is left of the children and removes the rings: with Remove, which
// also gives back what a ring has outside of its file.
func (l *lab) close() {
	for c := range l.children {
		c.kill()
	}
	left, _ := filepath.Glob(filepath.Join(l.rings, "*"+shm.Suffix))
	for _, path := range left {
		name := strings.TrimSuffix(filepath.Base(path), shm.Suffix)
		if err := shmring.Remove(context.Background(), name, &shmring.AdminOptions{Dir: l.rings}); err != nil && l.ctx.Err() == nil {
			l.r.fault("left behind: %v", err)
		}
	}
	if left, _ := os.ReadDir(l.rings); len(left) > 0 && l.ctx.Err() == nil {
		l.r.fault("left behind: %d files where the rings were, %s is one", len(left), left[0].Name())
	}
	_ = os.RemoveAll(l.rings)
	_ = os.RemoveAll(l.files)
	l.watch.Close()
}

// ring is a new name.
func (l *lab) ring() string {
	l.made++
	return fmt.Sprintf("r%d", l.made)
}

// span is a measurement of a child's.
type span struct{ Begin, End machine.Moment }

func (s span) took() time.Duration { return time.Duration(s.End.At - s.Begin.At) }

// owned is what of it the library has to answer for. What a processor did at the end of
// it has to be known: see settle.
func (l *lab) owned(s span) time.Duration { return l.watch.Owned(s.Begin, s.End) }

// settle is how long one waits before judging times: a watch notes that a processor
// stood still when it goes on.
func settle() { time.Sleep(10 * time.Millisecond) }

// choose is how much of something the mode does.
func choose[T any](l *lab, full, short T) T {
	if l.opt.Short {
		return short
	}
	return full
}

// child is a process of the lab's.
type child struct {
	l      *lab
	args   args
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string // closed at the end of its output
	stderr bytes.Buffer
	once   sync.Once
	err    error
}

// spawn starts a child; change, if not nil, may alter the command before. A false says
// that the fault is on record.
func (l *lab) spawn(a args, change func(*exec.Cmd)) (*child, bool) {
	a.Dir = l.rings
	if a.Seed == 0 {
		a.Seed = l.rng.Uint64()
	}
	text, err := json.Marshal(a)
	if err != nil {
		l.r.fault("%v", err)
		return nil, false
	}
	c := &child{l: l, args: a, lines: make(chan string, 64)}
	c.cmd = exec.CommandContext(l.ctx, "/proc/self/exe")
	c.cmd.Env = append(os.Environ(), labs.ChildEnv+"="+string(text))
	if a.Way.parked || a.Single {
		c.cmd.Env = append(c.cmd.Env, "GOMAXPROCS=1")
	}
	c.cmd.Stderr = &c.stderr
	if change != nil {
		change(c.cmd)
	}
	var out io.Reader
	if c.stdin, err = c.cmd.StdinPipe(); err == nil {
		if out, err = c.cmd.StdoutPipe(); err == nil {
			err = c.cmd.Start()
		}
	}
	if err != nil {
		l.r.fault("%s: %v", a.Role, err)
		return nil, false
	}
	go func() {
		defer close(c.lines)
		s := bufio.NewScanner(out)
		for s.Buffer(nil, 1<<24); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	l.children[c] = struct{}{}
	l.pids[c.pid()] = true
	l.most = max(l.most, 2*len(l.children))
	return c, true
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) fault(format string, args ...any) bool {
	c.l.r.fault(c.args.Way.name+": "+c.args.Role+": "+format, args...)
	return false
}

// tell sends a line; that the child may be dead is for hear to notice.
func (c *child) tell(line string) { _, _ = io.WriteString(c.stdin, line+"\n") }

// next is the child's next line: what it is about and the rest. It is empty at the end
// of the child, and after the limit.
func (c *child) next(limit time.Duration) (what, rest string) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case line := <-c.lines:
		what, rest, _ = strings.Cut(line, " ")
	case <-timer.C:
	case <-c.l.ctx.Done():
	}
	return what, rest
}

// expect waits for a line that says what, and decodes the rest of it into v. Everything
// else is a fault.
func (c *child) expect(what string, limit time.Duration, v any) bool {
	got, rest := c.next(limit)
	switch {
	case c.l.ctx.Err() != nil:
		return c.fault("interrupted")
	case got == "":
		c.signal(unix.SIGQUIT) // if it still lives, its goroutines
		time.AfterFunc(patience, func() { c.signal(unix.SIGKILL) })
		return c.fault("%q is not heard within %v: %.1500v", what, limit, c.wait())
	case got != what:
		return c.fault("says %q instead of %q: %.300s", got, what, rest)
	case v == nil:
		return true
	}
	if err := json.Unmarshal([]byte(rest), v); err != nil {
		return c.fault("%s: %v: %.300s", what, err, rest)
	}
	return true
}

// last is expect for the second of two, which may be preceded by any number of the
// first.
func (c *child) last(before, what string, v any) bool {
	for {
		got, rest := c.next(patience)
		switch {
		case got == before:
			continue
		case got != what:
			return c.fault("says %q instead of %q: %.300s", got, what, rest)
		}
		if err := json.Unmarshal([]byte(rest), v); err != nil {
			return c.fault("%s: %v: %.300s", what, err, rest)
		}
		return true
	}
}

func (c *child) signal(s unix.Signal) { _ = c.cmd.Process.Signal(s) }

// wait reaps the child, whose output is read to the end.
func (c *child) wait() error {
	c.once.Do(func() {
		_ = c.stdin.Close()
		for range c.lines {
		}
		c.err = c.cmd.Wait()
		if text := strings.TrimSpace(c.stderr.String()); text != "" {
			c.err = fmt.Errorf("%w: %s", c.err, text)
		}
		delete(c.l.children, c)
	})
	return c.err
}

func (c *child) kill() {
	c.signal(unix.SIGKILL)
	_ = c.wait()
}

// finish waits until a child that has nothing more to do has ended.
func (c *child) finish() bool {
	late := time.AfterFunc(patience, func() { c.signal(unix.SIGKILL) })
	defer late.Stop()
	c.tell("end")
	for range c.lines { // its input stays open: it may be told to end by a line only
	}
	if err := c.wait(); err != nil {
		return c.fault("does not end well: %.1500v", err)
	}
	return true
}
