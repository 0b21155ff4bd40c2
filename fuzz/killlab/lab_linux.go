package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// lab is what one run of one mode works with.
type lab struct {
	ctx   context.Context
	opt   options
	r     *result
	rng   *rand.Rand // for the mode's own goroutine
	rings string     // directory of the rings, on the same file system as real ones
	files string     // directory of the journals

	mu       sync.Mutex
	children map[*child]struct{}
	most     int // children at one time: the wait for each takes a thread
	names    atomic.Uint64
}

// patience is how long anything may take that must happen at all.
var patience = labs.Patience(10 * time.Second)

// childLimit is when a child ends itself if the lab did not.
const childLimit = 2 * time.Hour

func newLab(ctx context.Context, opt options, r *result) (*lab, error) {
	l := &lab{ctx: ctx, opt: opt, r: r, children: map[*child]struct{}{}}
	l.rng = rand.New(rand.NewPCG(opt.Seed, 0))
	var err error
	if l.rings, err = os.MkdirTemp(labs.Memory(), "killlab-*"); err != nil {
		return nil, err
	}
	if l.files, err = os.MkdirTemp("", "killlab-*"); err != nil {
		return nil, errors.Join(err, os.RemoveAll(l.rings))
	}
	return l, nil
}

// close kills what is left of the children and removes the files.
func (l *lab) close() {
	l.mu.Lock()
	left := make([]*child, 0, len(l.children))
	for c := range l.children {
		left = append(left, c)
	}
	l.mu.Unlock()
	for _, c := range left {
		c.signal(unix.SIGKILL)
		c.wait()
	}
	if l.ctx.Err() == nil {
		if left, _ := os.ReadDir(l.rings); len(left) > 0 {
			l.r.fault(&l.r.Leaked, "%d files are left where the rings were, %s is one", len(left), left[0].Name())
		}
	}
	_ = os.RemoveAll(l.rings)
	_ = os.RemoveAll(l.files)
}

// over reports whether the run is to end early.
func (l *lab) over() bool { return l.ctx.Err() != nil || l.r.Stuck > 0 }

// args tell a child what it is. They travel as JSON in its environment.
type args struct {
	Role    string
	Dir     string
	Ring    string
	Journal string
	Lane    uint32
	Life    uint32
	Seed    uint64
	Count   uint64 // of messages, or whatever the role counts; 0: until told to stop
	Kind    shmring.Kind
	Wait    shmring.Doorbell
	Number  int    // for the role's own use
	Text    string // likewise
	Only    string // the kill point that counts for role point; else all do
}

// role is what a child can be. It returns when its work is done; an error ends the
// child with status 1 and is shown by the lab.
type role func(ctx context.Context, a args, j *journal) error

// roles is filled by the modes' files.
var roles = map[string]role{}

// runChild is main of a child.
func runChild(text string) error {
	var a args
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return err
	}
	time.AfterFunc(childLimit, func() { os.Exit(3) })
	go followLab(os.Getppid())
	j, err := openJournal(a.Journal)
	if err != nil {
		return err
	}
	run := roles[a.Role]
	if run == nil {
		return fmt.Errorf("no role %q", a.Role)
	}
	return run(context.Background(), a, j)
}

// followLab ends a child whose lab has crashed.
func followLab(lab int) {
	for range time.Tick(time.Second) {
		if os.Getppid() != lab {
			os.Exit(3)
		}
	}
}

// child is a process of the lab's.
type child struct {
	l      *lab
	args   args
	cmd    *exec.Cmd
	j      *journal
	stderr bytes.Buffer
	once   sync.Once
	err    error
}

// spawn starts a child. change, if not nil, may alter the command before it starts.
func (l *lab) spawn(a args, change func(*exec.Cmd)) (*child, error) {
	a.Dir = l.rings
	a.Journal = filepath.Join(l.files, fmt.Sprintf("j%d", l.names.Add(1)))
	j, err := openJournal(a.Journal)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	c := &child{l: l, args: a, j: j}
	c.cmd = exec.Command("/proc/self/exe")
	c.cmd.Env = append(os.Environ(), labs.ChildEnv+"="+string(text))
	c.cmd.Stderr = &c.stderr
	if change != nil {
		change(c.cmd)
	}
	if err := c.cmd.Start(); err != nil {
		j.close()
		_ = os.Remove(a.Journal)
		return nil, err
	}
	l.mu.Lock()
	l.children[c] = struct{}{}
	l.most = max(l.most, len(l.children))
	l.mu.Unlock()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) signal(s unix.Signal) { _ = unix.Kill(c.pid(), s) }

// kill sends SIGKILL, waits for the process and counts it.
func (c *child) kill() {
	c.signal(unix.SIGKILL)
	c.wait()
	c.l.mu.Lock()
	c.l.r.Kills++
	c.l.mu.Unlock()
}

// wait reaps the child. Its journal stays.
func (c *child) wait() error {
	c.once.Do(func() {
		c.err = c.cmd.Wait()
		if text := strings.TrimSpace(c.stderr.String()); text != "" {
			c.err = fmt.Errorf("%w: %s", c.err, text)
		}
		c.l.mu.Lock()
		delete(c.l.children, c)
		c.l.mu.Unlock()
	})
	return c.err
}

// finish asks a child to end by itself and waits until it has. Anything else than a
// clean end is a fault.
func (c *child) finish() {
	c.j.set(command, 1)
	done := make(chan struct{})
	go func() {
		_ = c.wait()
		close(done)
	}()
	select {
	case <-done:
		if c.err != nil {
			c.l.fault(&c.l.r.Other, "%s: %v", c.args.Role, c.err)
		}
	case <-time.After(patience):
		c.l.fault(&c.l.r.Stuck, "%s (lane %d) does not end within %v of being told to", c.args.Role, c.args.Lane, patience)
		c.signal(unix.SIGQUIT) // its goroutines, into the report
		<-done
		c.l.fault(&c.l.r.Stuck, "%v", c.err)
	}
}

// forget gives a dead child's journal back.
func (c *child) forget() {
	c.j.close()
	_ = os.Remove(c.j.path)
}

// fault is result.fault for several goroutines.
func (l *lab) fault(heading *uint64, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.r.fault(heading, format, args...)
}

// must turns an error that has nothing to do with the experiment into a fault.
func (l *lab) must(err error) bool {
	if err != nil {
		l.fault(&l.r.Other, "%v", err)
	}
	return err == nil
}

// until waits for a condition that must come true.
func (l *lab) until(what string, f func() bool) bool {
	for end := time.Now().Add(patience); !f(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) || l.ctx.Err() != nil {
			l.fault(&l.r.Stuck, "%s: not within %v", what, patience)
			return false
		}
	}
	return true
}

// ready waits until a child has come as far as that phase.
func (l *lab) ready(c *child, p uint64) bool {
	end := time.Now().Add(patience)
	for !c.j.await(phase, p, 100*time.Millisecond) {
		if l.ctx.Err() != nil {
			return false
		}
		if time.Now().After(end) || unix.Kill(c.pid(), 0) != nil {
			l.fault(&l.r.Stuck, "%s (lane %d) does not reach phase %d: %s", c.args.Role, c.args.Lane, p, c.stderr.String())
			return false
		}
	}
	return true
}
