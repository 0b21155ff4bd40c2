package shmring

import (
	"errors"
	"testing"
	"time"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// ReplaceProbe puts something in the place of doorbell.Probe.
func ReplaceProbe(t *testing.T, by func() (layout.Doorbell, []doorbell.Refusal)) {
	before := probe
	t.Cleanup(func() { probe = before })
	probe = by
}

// SpyOnAppear lets before run ahead of every shm.OnAppear, of which an error refuses it, and
// those who are told of a new ring look by themselves only after so long.
func SpyOnAppear(t *testing.T, pause time.Duration, before func() error) {
	was, wasPause := onAppear, watchedPause
	t.Cleanup(func() { onAppear, watchedPause = was, wasPause })
	watchedPause = pause
	onAppear = func(name string, o *shm.Options, f func()) (func(), error) {
		if err := before(); err != nil {
			return nil, err
		}
		return was(name, o, f)
	}
}

// Judge finds out again what is the matter.
func (s *Snapshot) Judge() { s.judge() }

// AfterLookAt calls f between the opening of a file to look at and the look.
func AfterLookAt(t *testing.T, f func()) {
	lookAt = func(path string) (*shm.Onlooker, error) {
		o, err := shm.LookAt(path)
		f()
		return o, err
	}
	t.Cleanup(func() { lookAt = shm.LookAt })
}

// RemoveUnused is what Collect does to a ring that it has found unused.
var RemoveUnused = removeUnused

// Bytes is the memory of a sealed ring, as those see it who only look at it.
func (r *Sealed) Bytes() []byte { return r.s.seg.Bytes() }

// ProbeSysV lets this process find that futexes are refused and semaphores work.
func ProbeSysV(t *testing.T) {
	ReplaceProbe(t, func() (layout.Doorbell, []doorbell.Refusal) {
		return layout.SysV, []doorbell.Refusal{{Kind: layout.Futex, Err: errors.New("no")}}
	})
}
