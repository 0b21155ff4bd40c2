package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// args tell a child what it is.
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
	Joined  bool   // it joins before it begins, see labs.Join. Most roles: every other child does
}

// role is what a child can be. It returns when its work is done; an error ends the
// child with status 1 and is shown by the lab.
type role func(ctx context.Context, a args, j *journal) error

// Roles of a scenario's victim.
const (
	pointRole = "point"
	stepRole  = "step"
)

// roles is filled by the modes' files.
var roles = map[string]role{}

// runChild is main of a child.
func runChild(text string) error {
	var a args
	if err := labs.BeChild(text, &a); err != nil {
		return err
	}
	j, err := openJournal(a.Journal)
	if err != nil {
		return err
	}
	run := roles[a.Role]
	if run == nil {
		return fmt.Errorf("no role %q", a.Role)
	}
	if a.Joined {
		_ = labs.Join() // or it is like the others
	}
	return run(context.Background(), a, j)
}

// Phases of most roles.
const (
	running  = 1 // main has begun; nothing of the ring was touched
	attached = 2 // has its role in the ring
)

// child is a process of the lab's, with which the lab talks through a journal.
type child struct {
	*labs.Child
	l    *lab
	args args
	j    *journal
}

// spawn starts a child. change, if not nil, may alter the command before it starts.
func (l *lab) spawn(a args, change func(*exec.Cmd)) (*child, error) {
	a.Dir = l.Rings
	if a.Role != stepRole && a.Role != pointRole {
		a.Joined = l.children.Add(1)%2 == 0
	}
	a.Journal = filepath.Join(l.Files, fmt.Sprintf("j%d", l.names.Add(1)))
	j, err := openJournal(a.Journal)
	if err != nil {
		return nil, err
	}
	c := &child{l: l, args: a, j: j}
	c.Child, err = l.Spawn(c.String(), a, func(cmd *exec.Cmd) (func(), error) {
		if change != nil {
			change(cmd)
		}
		return nil, nil
	})
	if err != nil {
		c.forget()
		return nil, err
	}
	return c, nil
}

func (c *child) String() string {
	return fmt.Sprintf("%s (lane %d life %d)", c.args.Role, c.args.Lane, c.args.Life)
}

// reach waits until a child has come as far as that phase.
func (l *lab) reach(c *child, p uint64) bool {
	end := time.Now().Add(labs.Patience)
	for n := 0; c.j.Get(phase) < p; n++ {
		if l.Ctx.Err() != nil {
			return false
		}
		// The state costs more than the sleep.
		if n%16 == 15 && c.j.Get(phase) < p && (c.isDead() || time.Now().After(end)) && c.j.Get(phase) < p {
			l.fault(&l.r.Stuck, "%v does not reach phase %d: state %c, at %d: %s", c, p, state(c.PID()), c.j.Get(phase),
				c.Stderr())
			return false
		}
		time.Sleep(50 * time.Microsecond)
	}
	return true
}

// isDead reports whether a child lives no longer, reaped or not.
func (c *child) isDead() bool { return c.HasEnded() || state(c.PID()) == 'Z' }

// state is a process's state as the kernel calls it: R, S, T, t, Z; 'X' if there is
// no such process.
func state(pid int) byte {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if end := bytes.LastIndexByte(stat, ')'); err == nil && end > 0 && end+2 < len(stat) {
		return stat[end+2]
	}
	return 'X'
}

// kill kills a child, reaps it and counts it.
func (c *child) kill() {
	c.Kill()
	c.l.killed()
}

// retire reaps a child that was killed, counts it and gives its journal back.
func (c *child) retire() {
	c.kill()
	c.forget()
}

// discard ends a child that is no victim.
func (c *child) discard() {
	c.Kill()
	c.forget()
}

// forget gives a dead child's journal back.
func (c *child) forget() {
	c.j.Close()
	_ = os.Remove(c.j.Path)
}

// A child's word on what it found wrong, when it ends with an error.
const blame word = extra + 8

const (
	blameOther uint64 = iota
	blameTorn
	blameSplit
)

// accuse makes a fault of the error with which a child ended, if it did.
func (c *child) accuse() {
	err := c.Wait()
	if err == nil {
		return
	}
	r := c.l.r
	heading := map[uint64]*uint64{blameTorn: &r.Torn, blameSplit: &r.Split}[c.j.Get(blame)]
	if heading == nil {
		heading = &r.Other
	}
	c.l.fault(heading, "%v: %v", c, err)
}

// dismiss tells a child to end and waits until it has; meanwhile, if not nil, is called
// now and then.
func (c *child) dismiss(how uint64, meanwhile func()) bool {
	c.j.Set(command, how)
	if err := c.EndOrStacks(meanwhile); err != nil {
		c.l.fault(&c.l.r.Stuck, "%v", err)
		return false
	}
	return true
}

// conclude is dismiss for one who must end well.
func (c *child) conclude() {
	if c.dismiss(1, nil) {
		c.accuse()
	}
}

// finish is conclude for one whose journal nobody will read.
func (c *child) finish() {
	c.conclude()
	c.forget()
}

// outlive starts a process that is nobody's child when this one dies.
func outlive(a args) (pid int, err error) {
	cmd, err := labs.Command(a)
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	return cmd.Process.Pid, nil
}

// reap ends a process that was a child of a child's.
func reap(pid int) {
	_ = unix.Kill(pid, unix.SIGKILL)
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}
