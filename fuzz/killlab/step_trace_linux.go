package main

import (
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/internal/stepper"
)

// seize takes hold of a child that has written its thread into the journal, tells it
// to go on, and returns when it is about to begin.
func seize(c *child) (*stepper.Stepper, error) {
	s, err := stepper.Seize(c.PID(), int(c.j.Get(extra)), labs.Patience, func() { c.Signal(unix.SIGKILL) })
	if err != nil {
		return nil, err
	}
	c.j.Set(command, 1)
	if err := s.Stopped(); err != nil { // at its breakpoint
		return s, err
	}
	if err := s.StopOthers(); err != nil {
		return s, err
	}
	for c.j.Get(phase) < begun {
		if err := s.Step(); err != nil {
			return s, err
		}
	}
	return s, nil
}

// killStepped kills a child where it stands.
func killStepped(c *child, s *stepper.Stepper) {
	c.Signal(unix.SIGKILL)
	s.Reap()
	c.kill()
}

// same compares addresses: of the code that the kernel maps into each process, only
// the place in the page is the same in all of them.
func same(a, b uint64) bool {
	const kernelsOwn = 1 << 40
	return a == b || a > kernelsOwn && b > kernelsOwn && a%4096 == b%4096
}
