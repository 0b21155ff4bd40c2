package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

// zombie kills producers, n times, and does not reap them before the consumer has
// found them dead. Some of them have started a process that outlives them.
func zombie(l *lab, n int) {
	// Who loses its parent becomes the lab's, and the lab reaps it.
	if !l.must(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) {
		return
	}
	defer func() { l.must(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)) }()
	var fixtures []*fixture
	ok := true
	defer func() {
		for _, t := range fixtures {
			t.close(ok)
		}
	}()
	for _, kind := range []shmring.Kind{shmring.KindMPSC, shmring.KindSPSC} {
		var t *fixture
		if t, ok = l.newFixture(kind.String(), kind, 2); !ok {
			return
		}
		fixtures = append(fixtures, t)
		if t.receiver, ok = l.here(t.ring, shmring.Options{}); !ok {
			return
		}
	}
	begin := time.Now()
	orphans := 0
	var found machine.Times
	for i := range n {
		if l.enough(begin) {
			break
		}
		t := fixtures[i%2]
		t.what = fmt.Sprintf("%v, %d", t.kind, i)
		family := i%5 == 4
		if family {
			orphans++
		}
		var d time.Duration
		if d, ok = t.undead(i%3 == 0, family); !ok {
			return
		}
		if i%3 != 0 {
			found = append(found, d)
		}
	}
	l.r.Note("%d of the victims had started a process that outlived them; found dead in %v", orphans, found)
}

// undead kills one producer. late: the consumer looks only when the kernel says that
// it is a zombie. It returns how long after the kill that was found.
func (t *fixture) undead(late, family bool) (d time.Duration, ok bool) {
	c, k, ok := t.victim(func(a *args) {
		if family {
			a.Text = withGrandchild
		}
	})
	if family && c != nil {
		if pid := int(c.j.Get(grandchild)); pid != 0 {
			defer reap(pid)
			if open := t.l.inherited(pid); len(open) > 0 {
				t.fault(&t.l.r.Leaked, "a process that a producer has started has inherited %v", open)
			}
		}
	}
	if !ok || t.kind == shmring.KindMPSC && !t.send(smallest) {
		return 0, false
	}
	if !late {
		t.receiver.begin()
	}
	pid := c.PID()
	dead := func() bool { return state(pid) == 'Z' }
	killed := t.kill(c)
	if late && !t.l.until(t.what+": a zombie", dead) {
		return 0, false
	}
	ok = t.verdict(pid, k)
	d, _ = killed.To(monotonic())
	ok = t.l.until(t.what+": a zombie still", dead) && ok
	if family && ok && state(int(c.j.Get(grandchild))) == 'X' {
		ok = t.fault(&t.l.r.Other, "the process that was to outlive the producer did not")
	}
	c.retire()
	return d, ok
}
