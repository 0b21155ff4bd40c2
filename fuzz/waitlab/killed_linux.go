package main

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

func init() {
	roles["receiver"] = sleeper
	roles["sender"] = sleeper
}

const (
	killedCap   = 10 * time.Millisecond // MaxSleep of the sleepers
	killedSlack = 5 * time.Millisecond
)

// event is what sleepers and victims tell.
type event struct {
	Message uint64
	Begun   int64 // of a victim: before it did what it is killed in
	machine.Moment
}

func (a args) sleeper() *shmring.Options {
	o := a.options()
	o.Mode, o.MaxSleep = shmring.ModeOpenOrCreate, killedCap
	return o
}

// sleeper is the side that is not killed. As a receiver it tells of every message, as a
// sender of every Send that had to wait.
func sleeper(ctx context.Context, a args, lab *line) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var handle interface {
		Stats() shmring.Stats
		Close() error
	}
	var once func() (got bool, n uint64, err error)
	if a.Role == "receiver" {
		c, err := shmring.OpenConsumer(ctx, a.Ring, a.sleeper())
		if err != nil {
			return err
		}
		buf := make([]byte, 64)
		handle, once = c, func() (bool, uint64, error) {
			n, err := c.Receive(ctx, buf)
			if errors.Is(err, shmring.ErrPeerDead) {
				return false, 0, nil
			}
			return err == nil, parseNumber(buf[:n]), err
		}
	} else {
		p, err := shmring.OpenProducer(ctx, a.Ring, a.sleeper())
		if err != nil {
			return err
		}
		handle, once = p, func() (bool, uint64, error) {
			err := p.TrySend(number(0))
			if errors.Is(err, shmring.ErrFull) {
				err = p.Send(ctx, number(0))
				return err == nil, 0, err
			}
			return false, 0, err
		}
	}
	lab.send("ready", nil)
	go func() {
		lab.recv()
		cancel()
	}()
	for {
		got, n, err := once()
		if got {
			lab.send("got", event{n, 0, machine.Now()})
		}
		if errors.Is(err, context.Canceled) {
			break
		}
		if err != nil {
			return err
		}
	}
	lab.send("done", handle.Stats())
	return handle.Close()
}

// withKillPoints is this program built with kill points, of which an ordinary build has
// none.
func (l *lab) withKillPoints() (string, bool) {
	if tagged {
		return "/proc/self/exe", true
	}
	exe := filepath.Join(l.Files, "killpoint")
	build := exec.CommandContext(l.Ctx, "go", "build", "-tags", "killpoint", "-o", exe,
		"github.com/shmring/shmring/fuzz/waitlab")
	if out, err := build.CombinedOutput(); err != nil {
		l.r.fault("building with kill points, which needs the source tree: %v: %s", err, out)
		return "", false
	}
	return exe, true
}

func killedWaker(l *lab) {
	exe, ok := l.withKillPoints()
	if !ok {
		return
	}
	n := choose(l, 1000, 20)
	for _, w := range l.ways() {
		for _, pair := range [][2]string{{"receiver", "dying-sender"}, {"sender", "dying-receiver"}} {
			for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
				if !l.killWakers(w, kind, pair[0], pair[1], exe, n/2) {
					return
				}
			}
		}
	}
}

func (l *lab) killWakers(w way, kind shmring.Kind, survivor, victim, exe string, n int) bool {
	a := args{Role: survivor, Ring: l.ring(), Way: w, Kind: kind}
	s, ok := l.spawn(a, nil)
	if !ok || !s.expect("ready", labs.Patience, nil) {
		return false
	}
	var all, owned machine.Times
	var spans []span
	for trial := range n {
		a.Role, a.Count = victim, trial+1
		v, ok := l.spawn(a, func(c *exec.Cmd) { c.Path = exe })
		if !ok {
			return false
		}
		var killed event
		if !v.expect("killing", labs.Patience, &killed) {
			return false
		}
		got := event{}
		for {
			if !s.expect("got", labs.Patience, &got) {
				return s.fault("after %v kills of the %s: not woken", trial, victim)
			}
			// The room may have been found before the victim came to its wake.
			if victim == "dying-sender" && got.Message == killed.Message ||
				victim == "dying-receiver" && got.At >= killed.Begun {
				break
			}
		}
		_ = v.Wait()
		spans = append(spans, span{killed.Moment, got.Moment})
	}
	settle()
	for _, s := range spans {
		all, owned = append(all, max(0, s.took())), append(owned, l.owned(s))
		if own, limit := l.owned(s), killedCap+killedSlack; own > limit {
			l.r.fault("%s: %v: %s: %v after its %s (%v without waiting for a processor), the limit is %v",
				w.name, kind, survivor, s.took(), victim, own, limit)
		}
	}
	s.send("end")
	var stats shmring.Stats
	if !s.last("got", "done", labs.Patience, &stats) || !s.finish() {
		return false
	}
	l.r.add("kills", uint64(len(all)))
	if len(all) > 0 {
		l.r.Note(
			"%s: %v: from the kill in the wake to the %s's return: %v; without waiting for a processor: %v; %d timeout "+
				"wake-ups counted",
			w.name,
			kind,
			survivor,
			all,
			owned,
			stats.TimeoutWakeups,
		)
	}
	return true
}
