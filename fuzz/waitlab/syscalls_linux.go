package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/internal/strace"
)

func init() {
	roles["awake-sender"] = awake
	roles["awake-receiver"] = awake
}

// mark shows in a trace where the part begins, and ends, that counts: a call that
// nobody else makes.
func mark() { _, _ = unix.Getpgid(markPID) }

const markPID = 1<<30 + 77

// traced are the calls by which doorbells sleep and wake. Only the log of a trace tells
// the shared futexes of a ring from the private ones of the Go runtime; the table of
// strace -c does not.
const traced = "getpgid,futex,futex_waitv,pread64,semop,semtimedop,semctl"

// calls counts them, between the marks. looks are those by which a process makes sure, now and then,
// that a set of semaphores is still its ring's.
type calls struct{ wakes, waits, futexes, preads, semaphores, looks int }

func (k calls) all() int { return k.wakes + k.waits + k.futexes + k.preads + k.semaphores + k.looks }

func (k calls) String() string {
	return fmt.Sprintf("%d futex wakes, %d waits, %d other futex calls, %d preads, %d semaphore calls, %d looks at a set",
		k.wakes, k.waits, k.futexes, k.preads, k.semaphores, k.looks)
}

// parseTrace reads the log of strace -f.
func parseTrace(log string) (k calls, err error) {
	marks := 0
	for name, rest := range strace.Log(log) {
		switch {
		case name == "getpgid" && strings.HasPrefix(rest, fmt.Sprint(markPID)):
			marks++
		case marks != 1:
		case name == "futex" && strings.Contains(rest, "_PRIVATE"):
		case name == "futex" && strings.Contains(rest, "FUTEX_WAKE"):
			k.wakes++
		case name == "futex_waitv", name == "futex" && strings.Contains(rest, "FUTEX_WAIT"):
			k.waits++
		case name == "futex":
			k.futexes++
		case name == "pread64":
			k.preads++
		case name == "semctl" && (strings.Contains(rest, "GETVAL") || strings.Contains(rest, "IPC_STAT")):
			k.looks++
		case strings.HasPrefix(name, "sem"):
			k.semaphores++
		}
	}
	if marks != 2 {
		return k, fmt.Errorf("%d marks in a trace of %d bytes", marks, len(log))
	}
	return k, nil
}

// awake moves Count messages while nobody sleeps: with Number 0 both sides spin at the
// same time; else both would sleep, but the receiver, after one sleep, finds everything
// there.
func awake(ctx context.Context, a args, lab *line) error {
	o := a.options()
	o.Mode, o.Slots, o.SlotSize = shmring.ModeOpenOrCreate, 8192, shmring.NoPayload
	if a.Number == 0 {
		o.WaitPolicy = shmring.WaitSpin
	}
	var once func(i int) error
	var stats func() shmring.Stats
	var closing func() error
	if a.Role == "awake-sender" {
		p, err := shmring.OpenProducer(ctx, a.Ring, o)
		if err != nil {
			return err
		}
		once, stats, closing = func(i int) error { return p.Send(ctx, number(i)) }, p.Stats, p.Close
	} else {
		c, err := shmring.OpenConsumer(ctx, a.Ring, o)
		if err != nil {
			return err
		}
		buf := make([]byte, 64)
		once, stats, closing = func(i int) error {
			n, err := c.Receive(ctx, buf)
			return errors.Join(err, due(buf[:n], i))
		}, c.Stats, c.Close
	}
	lab.send("ready", nil)
	lab.recv()
	if a.Number > 0 {
		if err := once(0); err != nil { // the sleep
			return err
		}
		lab.send("slept", nil)
		lab.recv()
	}
	before := stats()
	mark()
	for i := range a.Count {
		if err := once(i + a.Number); err != nil {
			return err
		}
	}
	mark()
	s := stats()
	s.Sleeps, s.Wakes = s.Sleeps-before.Sleeps, s.Wakes-before.Wakes
	lab.send("done", s)
	lab.recv()
	return closing()
}

// tracing runs a child under strace.
func (l *lab) tracing(a args) (c *child, log string, ok bool) {
	exe, err := os.Executable()
	if err != nil {
		l.r.fault("%v", err)
		return nil, "", false
	}
	log = filepath.Join(l.Files, fmt.Sprintf("%s-%s-%d", a.Role, a.Ring, a.Number))
	c, ok = l.spawn(a, func(cmd *exec.Cmd) {
		cmd.Path, _ = exec.LookPath("strace")
		cmd.Args = []string{"strace", "-f", "--seccomp-bpf", "-e", "trace=" + traced, "-e", "signal=none", "-o", log, exe}
	})
	return c, log, ok
}

func (l *lab) counted(c *child, log string) (k calls, ok bool) {
	if !c.finish() {
		return k, false
	}
	text, err := os.ReadFile(log)
	if err == nil {
		k, err = parseTrace(string(text))
	}
	if err != nil {
		return k, c.fault("%v", err)
	}
	return k, true
}

func syscalls(l *lab) {
	if _, err := strace.Find(); err != nil {
		l.r.Skip("%v", err)
		return
	}
	for _, w := range l.ways() {
		if !l.countAwake(w, 0, choose(l, 2_000_000, 100_000)) || !l.countAwake(w, 1, 8000) ||
			!l.countAsleep(w, choose(l, 5000, 300)) {
			return
		}
	}
}

// countAwake: nobody sleeps, so nobody makes a system call.
func (l *lab) countAwake(w way, slept, n int) bool {
	a := args{Role: "awake-sender", Ring: l.ring(), Way: w, Kind: shmring.KindSPSC, Count: n, Number: slept}
	if slept == 0 {
		if w.parked {
			return true // two that spin do not depend on how they would sleep
		}
	}
	p, sends, ok := l.tracing(a)
	if !ok || !p.expect("ready", labs.Patience, nil) {
		return false
	}
	a.Role = "awake-receiver"
	c, receives, ok := l.tracing(a)
	if !ok || !c.expect("ready", labs.Patience, nil) {
		return false
	}
	c.send("go")
	how := "both spin"
	limit := labs.Patience + 6*labs.Patience
	var sender, receiver shmring.Stats
	if slept == 0 {
		p.send("go")
		ok = p.expect("done", limit, &sender) && c.expect("done", limit, &receiver)
	} else {
		how = "it was all there, after a sleep"
		pause()
		p.send("go")
		ok = p.expect("slept", labs.Patience, nil) && c.expect("slept", labs.Patience, nil)
		p.send("go")
		if ok = ok && p.expect("done", limit, &sender); ok {
			c.send("go")
			ok = c.expect("done", limit, &receiver)
		}
	}
	if !ok {
		return false
	}
	sent, ok := l.counted(p, sends)
	if !ok {
		return false
	}
	received, ok := l.counted(c, receives)
	if !ok {
		return false
	}
	l.r.add("messages awake", uint64(n))
	l.r.add("calls for them", uint64(sent.all()+received.all()))
	l.r.Note("%s: %d messages awake (%s): sender: %v; receiver: %v", w.name, n, how, sent, received)
	if sent.all()+received.all()+int(sender.Wakes+sender.Sleeps+receiver.Wakes+receiver.Sleeps) > 0 {
		l.r.fault(
			"%s: %d messages awake (%s) cost calls: sender: %v, %d wakes and %d sleeps counted; receiver: %v, %d and %d",
			w.name,
			n,
			how,
			sent,
			sender.Wakes,
			sender.Sleeps,
			received,
			receiver.Wakes,
			receiver.Sleeps,
		)
	}
	return true
}

// countAsleep: each sleep takes one call to sleep and at most one to be woken.
func (l *lab) countAsleep(w way, n int) bool {
	there, back := l.ring(), l.ring()
	a, aLog, ok := l.tracing(args{Role: "ping", Ring: there, Back: back, Way: w, Kind: shmring.KindSPSC, Count: n})
	if !ok {
		return false
	}
	b, bLog, ok := l.tracing(args{Role: "pong", Ring: back, Back: there, Way: w, Kind: shmring.KindSPSC, Count: n})
	if !ok {
		return false
	}
	var one, other bounce
	if !a.expect("done", 6*labs.Patience, &one) || !b.expect("done", labs.Patience, &other) {
		return false
	}
	k, ok := l.counted(a, aLog)
	if !ok {
		return false
	}
	m, ok := l.counted(b, bLog)
	if !ok {
		return false
	}
	for _, s := range []struct {
		name        string
		made        calls
		mine, other bounce
	}{{"ping", k, one, other}, {"pong", m, other, one}} {
		wakes, sleeps := int(s.mine.Out.Wakes+s.mine.In.Wakes), int(s.mine.Out.Sleeps+s.mine.In.Sleeps)
		theirs := int(s.other.Out.Sleeps + s.other.In.Sleeps)
		l.r.add("messages asleep", uint64(n))
		l.r.add("calls for them", uint64(s.made.all()))
		l.r.Note("%s: %s: %d messages asleep: %v; it counts %d wakes and %d sleeps, the other side %d sleeps", w.name,
			s.name, n, s.made, wakes, sleeps, theirs)
		if w == byPoll {
			continue
		}
		got := s.made.wakes
		switch {
		case w.parked:
			// Each handle that begins to park tries the notification once.
			got = s.made.preads - 2
		case w == bySysV:
			// A sleep closes its door, and waits there or opens it again.
			got = s.made.semaphores - 2*sleeps
			if most := 4 * (wakes + sleeps + 1); s.made.looks > most { // once for each, if that is seldom
				l.r.fault("%s: %s: %d looks at the set of semaphores, want at most %d", w.name, s.name, s.made.looks, most)
			}
		}
		if got > wakes || wakes > theirs {
			l.r.fault(
				"%s: %s: %d calls that wake, %d wakes counted, %d sleeps of the other side: none may be more than the next",
				w.name,
				s.name,
				got,
				wakes,
				theirs,
			)
		}
		if s.made.waits > sleeps {
			l.r.fault("%s: %s: %d calls that sleep, %d sleeps counted", w.name, s.name, s.made.waits, sleeps)
		}
	}
	return true
}
