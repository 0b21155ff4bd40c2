package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
)

// isolation starts children in process id namespaces of their own.
type isolation struct{ flags uintptr }

func (o isolation) change(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: o.flags}
	if o.flags&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
}

// isolate finds out how such children are started here.
func (l *lab) isolate() (o isolation, err error) {
	for _, o.flags = range []uintptr{unix.CLONE_NEWPID, unix.CLONE_NEWPID | unix.CLONE_NEWUSER} {
		c, err1 := l.spawn(args{Role: "wait"}, o.change)
		if err1 == nil {
			c.discard()
			return o, nil
		}
		err = errors.Join(err, err1)
	}
	return o, err
}

// namespaces kills producers n times that are process 1 each in a namespace of its
// own, as the consumer is, while another process 1 has a claim open too and lives.
func namespaces(l *lab, n int) {
	o, err := l.isolate()
	if err != nil {
		l.r.Skip("process id namespaces: %v", err)
		return
	}
	t, ok := l.newFixture("pidns", shmring.KindMPSC, 3)
	if !ok {
		return
	}
	defer func() { t.close(ok) }()
	if t.receiver, ok = l.there(t.ring, o.change); !ok {
		return
	}
	if own := t.receiver.child.j.Get(ownPID); own != 1 {
		ok = t.fault(&l.r.Other, "the consumer is process %d in its namespace, want 1", own)
		return
	}
	begin := time.Now()
	pairs := 0
	for i := range n {
		if l.enough(begin) {
			break
		}
		t.what = fmt.Sprintf("pidns, %d", i)
		if ok = t.twoFirsts(o, i%2 == 0); !ok {
			return
		}
		pairs++
	}
	l.r.Note("%d pairs, one of each dead and one alive, in %.1f s; clone flags %#x", pairs, time.Since(begin).Seconds(),
		o.flags)
}

// twoFirsts lets two processes 1 open a claim and kills one of them: the one with the
// claim in front, or the one behind.
func (t *fixture) twoFirsts(o isolation, front bool) bool {
	var both [2]*child
	var claims [2]shmring.SkippedClaim
	for i := range both {
		t.life++
		c, err := t.l.spawn(args{Role: "claim", Ring: t.ring, Kind: t.kind, Lane: 1, Life: t.life, Count: 1,
			Number: messageHeader + t.rng(3*fixtureSlot)}, o.change)
		if !t.l.must(err) || !t.enter(c) {
			return false
		}
		both[i] = c
	}
	for i, c := range both {
		var ok bool
		if claims[i], ok = t.hold(c); !ok {
			return false
		}
		if claims[i].PID != 1 {
			return t.fault(&t.l.r.Other, "a producer is process %d in its namespace, want 1", claims[i].PID)
		}
	}
	if !t.send(smallest) {
		return false
	}
	victim, alive := 1, 0
	if front {
		victim, alive = 0, 1
	}
	t.dies(both[victim])
	both[victim].Signal(unix.SIGKILL)
	both[victim].retire()
	// What is due now, with the living one's claim still open, and what comes behind it.
	if front {
		passed := func() bool { t.receiver.drain(); return len(t.receiver.skips) > 0 }
		if !t.l.until(t.what+": the claim of the dead", passed) {
			return false
		}
		if !t.passed(claims[victim]) {
			return false
		}
	}
	if !t.receiver.looked() {
		return false
	}
	if !t.receiver.silent() {
		return t.fault(&t.l.r.Disordered, "something came in spite of the claim of a living producer: %v, passed over: %v",
			t.receiver.queue, t.receiver.skips)
	}
	t.commit(both[alive])
	if _, ok := t.message(both[alive].args.source(), both[alive].args.Count); !ok {
		return false
	}
	if _, ok := t.rest(); !ok {
		return false
	}
	if !front && !t.passed(claims[victim]) || front && !t.passed() {
		return false
	}
	both[alive].finish()
	return true
}
