package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
	"github.com/shmring/shmring/shm"
)

// lab is what one run of one mode works with. It belongs to the mode's goroutine.
type lab struct {
	*labs.Lab
	r     *result
	watch *machine.Watch
	made  int // rings
}

// newLab begins to watch the processors. The wait for a child takes two threads: its
// output is read.
func newLab(in *labs.Lab, r *result) *lab {
	in.Threads = 2
	return &lab{Lab: in, r: r, watch: machine.NewWatch()}
}

// close kills what is left of the children and removes the rings: with Remove, which
// also gives back what a ring has outside of its file.
func (l *lab) close() {
	l.KillAll()
	left, _ := filepath.Glob(filepath.Join(l.Rings, "*"+shm.Suffix))
	for _, path := range left {
		name := strings.TrimSuffix(filepath.Base(path), shm.Suffix)
		if err := shmring.Remove(l.Ctx, name, &shmring.AdminOptions{Dir: l.Rings}); err != nil && l.Ctx.Err() == nil {
			l.r.fault("left behind: %v", err)
		}
	}
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
	if l.Short {
		return short
	}
	return full
}

// child is a process of the lab's, with which the lab talks a line at a time.
type child struct {
	*labs.Child
	l     *lab
	args  args
	stdin io.WriteCloser
	lines chan string // closed at the end of its output
}

// spawn starts a child; change, if not nil, may alter the command before. A false says
// that the fault is on record.
func (l *lab) spawn(a args, change func(*exec.Cmd)) (*child, bool) {
	a.Dir = l.Rings
	if a.Seed == 0 {
		a.Seed = l.Rand.Uint64()
	}
	c := &child{l: l, args: a, lines: make(chan string, 64)}
	var out io.Reader
	var err error
	c.Child, err = l.Spawn(a.Role, a, func(cmd *exec.Cmd) (drain func(), err error) {
		if a.Way.parked || a.Single {
			cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
		}
		if change != nil {
			change(cmd)
		}
		if c.stdin, err = cmd.StdinPipe(); err != nil {
			return nil, err
		}
		out, err = cmd.StdoutPipe()
		return c.drain, err
	})
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
	return c, true
}

// drain reads the rest of the child's output.
func (c *child) drain() {
	_ = c.stdin.Close()
	for range c.lines {
	}
}

func (c *child) fault(format string, args ...any) bool {
	c.l.r.fault(c.args.Way.name+": "+c.args.Role+": "+format, args...)
	return false
}

// send sends a line. That the child may be dead is noticed when its answer does not come.
func (c *child) send(line string) { _, _ = io.WriteString(c.stdin, line+"\n") }

// next is the child's next line: what it is about and the rest. It is empty at the end
// of the child, and after the limit.
func (c *child) next(limit time.Duration) (what, rest string) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case line := <-c.lines:
		what, rest, _ = strings.Cut(line, " ")
	case <-timer.C:
	case <-c.l.Ctx.Done():
	}
	return what, rest
}

// expect waits for a line that says what, and decodes the rest of it into v. Everything
// else is a fault.
func (c *child) expect(what string, limit time.Duration, v any) bool {
	return c.last("", what, limit, v)
}

// last is expect for a line that may be preceded by any number of others.
func (c *child) last(before, what string, limit time.Duration, v any) bool {
	got, rest := c.next(limit)
	for before != "" && got == before {
		got, rest = c.next(limit)
	}
	switch {
	case c.l.Ctx.Err() != nil:
		return c.fault("interrupted")
	case got == "":
		c.Signal(unix.SIGQUIT) // if it still lives, its goroutines
		time.AfterFunc(labs.Patience, func() { c.Signal(unix.SIGKILL) })
		return c.fault("%q is not heard within %v: %.1500v", what, limit, c.Wait())
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

// finish waits until a child that has nothing more to do has ended.
func (c *child) finish() bool {
	late := time.AfterFunc(labs.Patience, func() { c.Signal(unix.SIGKILL) })
	defer late.Stop()
	c.send("end")
	for range c.lines { // its input stays open: it may be told to end by a line only
	}
	if err := c.Wait(); err != nil {
		return c.fault("does not end well: %.1500v", err)
	}
	return true
}
