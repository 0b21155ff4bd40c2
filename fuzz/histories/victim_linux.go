package main

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// victim is how a child dies in the middle of a history: a timer kills the process while it
// is inside a call, or between two.
type victim struct {
	timer int32
	armed bool
}

// prepare makes what is needed to die later.
func (c *client) prepare() (err error) {
	hook(c)
	if c.KillAt >= 0 {
		c.timer, err = killTimer()
	}
	return err
}

// armAt tells whether the child is to die soon. Then it makes its calls without a pause.
func (c *client) armAt(i int) bool {
	if i == c.KillAt {
		c.armed = true
		after := time.Duration(c.KillAfter)
		if hasPoints && c.KillPoint > 0 {
			after = 5 * time.Millisecond // should there be too few
		}
		if startTimer(c.timer, after) != nil {
			dieNow()
		}
	}
	return c.armed
}

// expire waits for the death of a victim that has made all its calls.
func (c *client) expire() {
	if c.armed {
		select {}
	}
}

func dieNow() { _ = unix.Kill(os.Getpid(), unix.SIGKILL) }
