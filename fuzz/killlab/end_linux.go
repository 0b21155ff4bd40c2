package main

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A child's word on what it found wrong, when it ends with an error.
const blame word = extra + 8

const (
	blameOther uint64 = iota
	blameTorn
	blameSplit
)

// ended waits for a child to end, and meanwhile calls busy now and then.
func (c *child) ended(limit time.Duration, busy func()) bool {
	done := make(chan struct{})
	go func() {
		_ = c.wait()
		close(done)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return true
		case <-timer.C:
			return false
		case <-tick.C:
			busy()
		}
	}
}

// asKilled reports whether a child that has ended died of SIGKILL.
func (c *child) asKilled() bool {
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// accuse makes a fault of the error with which a child ended, if it did.
func (c *child) accuse() {
	if c.err == nil {
		return
	}
	r := c.l.r
	heading := map[uint64]*uint64{blameTorn: &r.Torn, blameSplit: &r.Split}[c.j.get(blame)]
	if heading == nil {
		heading = &r.Other
	}
	c.l.fault(heading, "%s (lane %d): %v", c.args.Role, c.args.Lane, c.err)
}

// dismiss tells a child to end and waits until it has.
func (c *child) dismiss(how uint64, busy func()) bool {
	c.j.set(command, how)
	if c.ended(patience, busy) {
		return true
	}
	c.l.fault(&c.l.r.Stuck, "%s (lane %d) does not end within %v of being told to", c.args.Role, c.args.Lane, patience)
	c.signal(unix.SIGQUIT) // its goroutines, into the report
	if !c.ended(patience, busy) {
		c.kill()
	}
	c.l.fault(&c.l.r.Stuck, "%v", c.err)
	return false
}

// empty makes sure that nothing is left where the rings are.
func (l *lab) empty(when string) {
	list, err := os.ReadDir(l.rings)
	l.must(err)
	for _, e := range list {
		l.fault(&l.r.Leaked, "%s: %s is left in the directory", when, e.Name())
	}
}
