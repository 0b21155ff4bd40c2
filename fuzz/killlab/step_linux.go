package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/internal/pin"
	"github.com/shmring/shmring/internal/stepper"
)

// step single-steps one operation in a process of its own and kills that process
// between two instructions, n places for each scenario, or all of them if there are no
// more than n.
//
// Of an operation of at most shortest instructions every single boundary is a place:
// one victim dies at each, and the address at which it died is compared with that of
// the same boundary in a run that was not killed.
//
// A longer one (opening, closing) is mostly code of the Go runtime and of system
// calls. Others can see of it only the ring's bytes, locks and names. So boundaries
// with neither a change of those bytes nor a system call in between are the same to
// everybody else, and a place is the first boundary of each such class: one victim
// dies behind each change and behind each system call. A sample of the others is
// added, to show that they are no different.
func step(l *lab, n int) {
	if !stepper.CanStep {
		l.r.Skip("stepping has only been tried on amd64, this is %s", runtime.GOARCH)
		return
	}
	var until time.Time
	if l.duration > 0 {
		until = time.Now().Add(l.duration)
	}
	l.r.Note("operation: state instructions/of which others can see/kills")
	var campaigns []*campaign
	for t := range everyScenario(l, true) {
		if n < shortest && t.isMuchLike() {
			continue
		}
		rng := rand.New(rand.NewPCG(l.Seed, uint64(len(campaigns))))
		campaigns = append(campaigns, &campaign{scenario: t, n: n, rng: rng, until: until})
	}
	work := make(chan *campaign, len(campaigns))
	for _, a := range campaigns {
		work <- a
	}
	close(work)
	var all sync.WaitGroup
	cpus := pin.CPUs()
	for _, cpu := range cpus[:min(len(cpus), mostTracers)] {
		all.Go(func() { trace(l, cpu, work) })
	}
	all.Wait()
	if slices.ContainsFunc(campaigns, func(a *campaign) bool { return !a.complete }) {
		l.r.Note("ended early: not all of it was done")
	}
	for len(campaigns) > 0 {
		n := 1
		for n < len(campaigns) && campaigns[n].op == campaigns[0].op && campaigns[n].kind == campaigns[0].kind {
			n++
		}
		note(l.r, campaigns[:n])
		campaigns = campaigns[n:]
	}
}

// isMuchLike tells of a long operation that is not worth its seconds where only a sample is killed: on a broadcast
// ring attaching and closing are those of an SPSC ring, and in one of these states much like in the others.
func (t *scenario) isMuchLike() bool {
	long := t.op.attaches || t.op.name == "close"
	return t.kind == shmring.KindBroadcast && long && (t.state == "empty" || t.state == "wrapping")
}

// trace runs one campaign after the other. It and its victims stay on one processor:
// two that take turns are not to wait for another one to wake up.
func trace(l *lab, cpu int, work <-chan *campaign) {
	if !l.must(pin.Thread(cpu)) { // for ever: the thread ends with the goroutine
		return
	}
	for a := range work {
		a.everyPlace()
	}
}

// campaign is one scenario again and again, with deaths at different places.
type campaign struct {
	scenario // as it begins: once runs a copy
	n        int
	rng      *rand.Rand
	until    time.Time // zero: to the end

	path    []uint64 // of each boundary, the address of the instruction behind it
	calls   []int    // boundaries right behind a system call
	changes []int    // those and the ones behind a change of the ring's bytes

	kills    int
	complete bool
	strayed  int   // places at which no victim died
	twice    int   // victims that died elsewhere than planned
	gone     int   // victims that ended by themselves, or did not get on
	why      error // the newest of those
	steps    int
	stepping time.Duration
	whole    time.Duration
}

const (
	shortest    = 2000 // instructions of an operation whose every boundary is a place
	sampled     = 10   // places added in a longer one
	tries       = 10   // for one place
	mostGone    = 3    // for one place
	mostTracers = 8
)

func (a *campaign) last() int { return len(a.path) - 1 }

// outcome is how one victim ended.
type outcome int

const (
	failed   outcome = iota // and a fault tells why
	right                   // where it should
	astray                  // elsewhere
	vanished                // nobody knows where
)

func (a *campaign) everyPlace() {
	begin := time.Now()
	defer func() { a.whole = time.Since(begin) }()
	if a.over() || a.retry(a.rehearse) != right {
		return
	}
	for _, p := range a.places() {
		if a.over() {
			return
		}
		switch a.retry(func() outcome { return a.kill(p) }) {
		case failed:
			return
		case astray:
			a.strayed++
		}
	}
	a.complete = true
}

// over tells whether the run is to end early.
func (a *campaign) over() bool {
	l := a.l
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over() || len(l.r.Problems) >= labs.MaxProblems || len(l.r.Skipped) > 0 || !a.until.IsZero() &&
		time.Now().After(a.until)
}

// retry repeats what did not come out as planned.
func (a *campaign) retry(f func() outcome) outcome {
	gone := 0
	for n := 1; ; n++ {
		o := f()
		switch {
		case o == failed || o == right || o == astray && n >= tries:
			return o
		case o == astray:
			a.twice++
		default:
			a.gone++
			if gone++; gone == mostGone {
				a.fault(&a.l.r.Stuck, "%d victims in a row ended by themselves or did not get on for %v: %v", gone, labs.Patience,
					a.why)
				return failed
			}
		}
	}
}

// place is where a victim dies.
type place struct {
	boundary int
	change   int  // of the ring's bytes since the last system call; 0: count steps instead
	anywhere bool // or wherever so many steps lead this time
}

// places chooses where victims die.
func (a *campaign) places() []place {
	var all []place
	if a.last() <= shortest {
		for k := range a.last() + 1 {
			all = append(all, place{boundary: k})
		}
	} else {
		all = append(all, place{boundary: 0}, place{boundary: a.last()})
		since := 0
		for _, k := range a.changes {
			since++
			if _, called := slices.BinarySearch(a.calls, k); called {
				since = 0
			}
			all = append(all, place{boundary: k, change: since})
		}
		for range sampled {
			all = append(all, place{boundary: a.rng.IntN(a.last()), anywhere: true})
		}
	}
	if len(all) > a.n {
		a.rng.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		all = all[:a.n]
	}
	return all
}

// rehearse steps through the whole operation and notes the path. The victim goes on to
// check what was returned, and ends by itself, without leaving the ring.
func (a *campaign) rehearse() outcome {
	a.path, a.calls, a.changes = nil, nil, nil
	return a.once(", not killed", func(t *scenario, s *stepper.Stepper) (outcome, error) {
		seen := slices.Clone(t.mem)
		for t.victim.j.Get(phase) != operated {
			at, kind, err := s.Next()
			if err != nil {
				return failed, err
			}
			a.path = append(a.path, at)
			if err := s.Step(); err != nil {
				return failed, err
			}
			called := kind == stepper.Syscall
			if called {
				a.calls = append(a.calls, len(a.path))
			}
			if called || !bytes.Equal(seen, t.mem) {
				copy(seen, t.mem)
				a.changes = append(a.changes, len(a.path))
			}
		}
		at, _, err := s.Next()
		if err != nil {
			return failed, err
		}
		a.path = append(a.path, at)
		if err := s.Release(); err != nil {
			return failed, err
		}
		if !t.must("the victim", t.victim.Wait()) {
			return failed, nil
		}
		return right, nil
	})
}

// kill runs the scenario once and kills the victim at a place.
func (a *campaign) kill(p place) outcome {
	where := fmt.Sprintf(", killed at boundary %d of %d", p.boundary, a.last())
	return a.once(where, func(t *scenario, s *stepper.Stepper) (outcome, error) {
		calls, found := slices.BinarySearch(a.calls, p.boundary)
		if found {
			calls++
		}
		if err := s.Forward(calls); err != nil {
			return failed, err
		}
		begin, from := time.Now(), 0
		if calls > 0 {
			from = a.calls[calls-1]
		}
		seen := slices.Clone(t.mem)
		for n, changes := from, 0; t.victim.j.Get(phase) != operated; n++ {
			if p.change == 0 && n == p.boundary || p.change > 0 && changes == p.change {
				break
			}
			if err := s.Step(); err != nil {
				return failed, err
			}
			if p.change > 0 && !bytes.Equal(seen, t.mem) {
				copy(seen, t.mem)
				changes++
			}
			a.steps++
		}
		a.stepping += time.Since(begin)
		over := t.victim.j.Get(phase) == operated
		at, _, err := s.Next()
		if err != nil {
			return failed, err
		}
		killStepped(t.victim, s)
		a.kills++
		if !p.anywhere && (!same(at, a.path[p.boundary]) || over != (p.boundary == a.last())) {
			return astray, nil
		}
		return right, nil
	})
}

// once runs the scenario and lets f step the victim to its end.
func (a *campaign) once(where string, f func(*scenario, *stepper.Stepper) (outcome, error)) outcome {
	t, o := a.scenario, failed
	t.where = where
	quiet := func(c *exec.Cmd) { c.Env = append(c.Env, "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1") }
	ok := t.run(stepRole, 0, quiet, func() bool {
		s, err := seize(t.victim)
		if err == nil {
			o, err = f(&t, s)
		}
		switch {
		case err == nil:
			return o != failed
		case s == nil && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS)):
			a.l.mu.Lock()
			defer a.l.mu.Unlock()
			a.l.r.Skip("%v", err)
			return false
		case s != nil:
			killStepped(t.victim, s)
		}
		o, a.why = vanished, fmt.Errorf("%w %s", err, t.victim.Stderr())
		return false
	})
	if !ok && o != vanished {
		return failed
	}
	return o
}

// note writes down what was done with one operation on one kind of ring.
func note(r *result, campaigns []*campaign) {
	var text strings.Builder
	var sum campaign
	for _, a := range campaigns {
		state := a.state
		if a.joined {
			state += "+joined"
		}
		fmt.Fprintf(&text, " %s %d/%d/%d,", state, max(0, a.last()), len(a.changes), a.kills)
		sum.kills += a.kills
		sum.twice += a.twice
		sum.strayed += a.strayed
		sum.gone += a.gone
		sum.steps += a.steps
		sum.stepping += a.stepping
		sum.whole += a.whole
	}
	fmt.Fprintf(&text, " %d kills in %.1f s, %.0f µs a step", sum.kills, sum.whole.Seconds(),
		float64(sum.stepping.Microseconds())/float64(max(1, sum.steps)))
	if odd := sum.twice + sum.gone; odd > 0 {
		fmt.Fprintf(&text, "; %d strayed and %d vanished, and were tried again", sum.twice, sum.gone)
	}
	if sum.strayed > 0 {
		fmt.Fprintf(&text, "; %d places not reached in %d tries", sum.strayed, tries)
	}
	r.Note("%s %v:%s", campaigns[0].kind, campaigns[0].op, text.String())
}
