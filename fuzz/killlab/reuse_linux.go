package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
)

// pidReuse gives the process id of a dead producer to somebody else before the
// consumer looks, n times.
func pidReuse(l *lab, n int) {
	if err := mayChoose(); err != nil {
		l.r.Skip("choosing process ids: %v", err)
		return
	}
	many, ok := l.newFixture("mpsc", shmring.KindMPSC, 2)
	if !ok {
		return
	}
	defer func() { many.close(ok) }()
	if many.receiver, ok = l.here(many.ring, shmring.Options{}); !ok {
		return
	}
	one, ok := l.newFixture("spsc", shmring.KindSPSC, 1)
	if !ok {
		return
	}
	defer func() { one.close(ok) }()
	if one.receiver, ok = l.here(one.ring, shmring.Options{}); !ok {
		return
	}
	begin := time.Now()
	missed, done := 0, [4]int{}
	for i := 0; i < n && !l.enough(begin); {
		t := many
		if i%2 == 1 {
			t = one
		}
		t.what = fmt.Sprintf("%v, %d", t.kind, i)
		var reused bool
		if i%4 < 2 {
			reused, ok = t.stranger()
		} else {
			reused, ok = t.namesake()
		}
		switch {
		case !ok:
			return
		case reused:
			done[i%4]++
			i++
		default:
			if missed++; missed > n/4+8 {
				l.r.Skip("process ids are taken by others faster than they can be given")
				return
			}
		}
	}
	l.r.Note("the dead producer's process id went to a stranger %d times (mpsc) and %d (spsc), to its successor %d "+
		"and %d; %d times somebody else was faster",
		done[0], done[1], done[2], done[3], missed)
}

// crashed makes a producer that is dead and reaped with a claim open, and messages
// behind that claim where there can be any.
func (t *fixture) crashed() (pid int, k shmring.SkippedClaim, ok bool) {
	c, k, ok := t.victim(nil)
	if !ok || t.kind == shmring.KindMPSC && !t.send(smallest) {
		return 0, k, false
	}
	t.dies(c)
	c.Signal(unix.SIGKILL)
	c.retire()
	return c.PID(), k, true
}

// verdict lets the consumer look: it must find that producer dead.
func (t *fixture) verdict(pid int, k shmring.SkippedClaim) bool {
	if t.kind == shmring.KindSPSC {
		_, ok := t.lost(pid)
		return ok && t.passed()
	}
	_, ok := t.rest()
	return ok && t.passed(k)
}

// stranger: the process id goes to a process that knows nothing of the ring.
func (t *fixture) stranger() (reused, ok bool) {
	pid, k, ok := t.crashed()
	if !ok {
		return false, false
	}
	c, err := t.l.reissue(pid, args{Role: "wait"})
	if err != nil && !errors.Is(err, errTaken) {
		return false, t.l.must(err)
	}
	ok = t.verdict(pid, k)
	if c != nil {
		ok = ok && state(pid) != 'Z' && state(pid) != 'X'
		c.discard()
	}
	return err == nil, ok
}

// namesake: the process id goes to the next producer, which on an SPSC ring attaches
// before the consumer looks, and on an MPSC ring would like to.
func (t *fixture) namesake() (reused, ok bool) {
	pid, k, ok := t.crashed()
	if !ok {
		return false, false
	}
	t.life++
	a := args{Role: "claim", Ring: t.ring, Kind: t.kind, Lane: 1, Life: t.life, Count: 1, Number: smallest,
		Text: ifChosen}
	c, err := t.l.reissue(pid, a)
	if errors.Is(err, errTaken) {
		return false, t.verdict(pid, k)
	}
	if !t.l.must(err) {
		return false, false
	}
	c.j.Set(chosen, 1)
	if t.kind == shmring.KindSPSC {
		ok = t.l.reach(c, entered) && t.verdict(pid, k)
	} else {
		ok = t.l.reach(c, running) && t.refused() && t.verdict(pid, k)
	}
	ok = ok && t.enter(c) && t.passed()
	if ok {
		c.finish()
	}
	return true, ok
}

// reissue starts a child with a process id that was in use before.
func (l *lab) reissue(pid int, a args) (*child, error) {
	for range 50 {
		if err := lastPID(pid - 1); err != nil {
			return nil, err
		}
		c, err := l.spawn(a, nil)
		if err != nil {
			return nil, err
		}
		if c.PID() == pid {
			return c, nil
		}
		c.discard() // another process, or a thread of our own, was faster
	}
	return nil, errTaken
}

var errTaken = errors.New("the process id is taken")

const lastPIDFile = "/proc/sys/kernel/ns_last_pid"

// lastPID makes the kernel begin its search for the next process id behind pid.
func lastPID(pid int) error { return os.WriteFile(lastPIDFile, []byte(strconv.Itoa(pid)), 0) }

// mayChoose tries whether lastPID is permitted, without changing much.
func mayChoose() error {
	now, err := os.ReadFile(lastPIDFile)
	if err != nil {
		return err
	}
	return os.WriteFile(lastPIDFile, now, 0)
}
