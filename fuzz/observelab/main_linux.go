package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"golang.org/x/sys/unix"
)

const ringName = "observed"

// modes are kinds of rings.
var modes = []struct {
	name      string
	mpsc      bool
	producers int
}{{"spsc", false, 1}, {"mpsc", true, 3}}

const (
	fullMessages  = 100_000_000
	shortMessages = 2_000_000
)

func program() *labs.Program {
	n := 0
	p := &labs.Program{
		Name:  "observelab",
		Title: "Modes: kinds of rings",
		Flags: func(f *flag.FlagSet) {
			f.IntVar(&n, "n", 0, fmt.Sprintf("how many messages (default: %d, short %d)", fullMessages, shortMessages))
		},
		Check: func() error {
			if n < 0 {
				return errors.New("-n must not be negative")
			}
			return nil
		},
		Experiment: func(ctx context.Context, mode int, o labs.Options) labs.Report { return experiment(ctx, mode, n, o) },
		Child:      child,
	}
	for _, m := range modes {
		p.Modes = append(p.Modes, labs.Mode{Name: m.name, Summary: fmt.Sprintf("with %d producers at a time", m.producers)})
	}
	return p
}

func main() { program().Main() }

// observed is what became of one observer.
type observed struct {
	Name   string `json:"name"`
	Got    uint64 `json:"got"`
	Missed uint64 `json:"missed"`
	Last   uint64 `json:"last"` // the number of the last message
	Agreed int    `json:"agreed"`
	Kills  int    `json:"kills"`
	Stops  int    `json:"stops"`
}

// result is what one mode found: the object that -json prints.
type result struct {
	labs.Result
	Messages  uint64     `json:"messages"`
	Kills     int        `json:"kills"` // of producers and the consumer
	Observers []observed `json:"observers"`
}

// Print shows the result to people.
func (r *result) Print(w io.Writer) {
	verdict := "ok"
	if !r.OK {
		verdict = "FAILED"
	}
	fmt.Fprintf(w, "%-9s %s: %d messages, %d kills of producers and the consumer; %.1f s\n", r.Mode, verdict, r.Messages,
		r.Kills, r.Seconds)
	r.PrintRest(w, strings.Repeat(" ", 10), "not permitted here", func() {
		for _, o := range r.Observers {
			fmt.Fprintf(w, "%10s%-7s got %d, missed %d, of %d; %d numbers agree; killed %d, stopped %d times\n", "", o.Name,
				o.Got, o.Missed, o.Last, o.Agreed, o.Kills, o.Stops)
		}
	})
}

func experiment(ctx context.Context, mode, n int, o labs.Options) labs.Report {
	m := modes[mode]
	n = o.Times(n, fullMessages, shortMessages)
	r := &result{Result: labs.Result{Mode: m.name, Seed: o.Seed}}
	left, err := r.Run(ctx, "observelab", o, func(l *labs.Lab) {
		s := &stage{Lab: l, r: r, mpsc: m.mpsc, target: uint64(n)}
		if err := s.run(m.producers); err != nil {
			r.Problem("%v", err)
		}
		s.close()
		if l.Ctx.Err() != nil {
			r.Problem("interrupted")
		}
	})
	if err != nil {
		r.Problem("%v", err)
	}
	for _, leak := range left {
		r.Problem("left behind: %s", leak)
	}
	if r.OK = len(r.Problems) == 0; !r.OK {
		r.Repeat = fmt.Sprintf("go run ./fuzz/observelab -mode %s -n %d -seed %d", m.name, n, o.Seed)
	}
	return r
}

// stage is a ring and who is at it.
type stage struct {
	*labs.Lab
	r       *result
	mpsc    bool
	target  uint64
	count   uint64 // of incarnations
	workers []*worker
}

// worker is one that is restarted when it was killed.
type worker struct {
	args
	name    string
	journal journal
	child   *labs.Child
	stopped bool
	kills   int
	stops   int
}

// start starts a worker, for the first time or again.
func (s *stage) start(w *worker) error {
	s.count++
	w.Incarnation = s.count
	w.journal.Put(ready, 0)
	var err error
	if w.child, err = s.Spawn(w.name, w.args, nil); err != nil {
		return err
	}
	if !w.journal.Await(ready, 1, labs.Patience) {
		w.child.Signal(unix.SIGQUIT)
		return fmt.Errorf("%s is not ready: %w", w.name, w.child.Wait())
	}
	return nil
}

func (s *stage) hire(name string, a args) (*worker, error) {
	a.Dir, a.MPSC, a.Seed, a.Journal = s.Rings, s.mpsc, s.Seed, filepath.Join(s.Files, name)
	w := &worker{args: a, name: name}
	var err error
	if w.journal, err = openJournal(a.Journal); err != nil {
		return nil, err
	}
	s.workers = append(s.workers, w)
	return w, s.start(w)
}

func (s *stage) run(producers int) error {
	kind := shmring.KindSPSC
	if s.mpsc {
		kind = shmring.KindMPSC
	}
	o := &shmring.Options{Dir: s.Rings, Mode: shmring.ModeCreateOnly, Kind: kind, Slots: 1024, SlotSize: 64,
		MaxMessage: longest, KeepStream: true}
	p, err := shmring.OpenProducer(s.Ctx, ringName, o)
	if err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return err
	}
	for _, w := range []struct {
		name string
		args
	}{
		{"quick", args{Role: "observe"}}, {"slow", args{Role: "observe", Nap: 2000}},
		{"kind", args{Role: "observe", Kinds: []uint16{1}}}, {"stopped", args{Role: "observe"}},
		{"killed", args{Role: "observe"}},
		{"consumer", args{Role: "consume"}},
	} {
		if _, err := s.hire(w.name, w.args); err != nil {
			return err
		}
	}
	for i := range producers {
		if _, err := s.hire(fmt.Sprint("producer", i), args{Role: "produce", Batches: i != 1}); err != nil {
			return err
		}
	}
	if err := s.disturb(); err != nil {
		return err
	}
	return s.judge()
}

// disturb kills and stops until enough messages have come.
func (s *stage) disturb() error {
	consumer := s.named("consumer").journal
	for before, stuck := uint64(0), time.Now(); consumer.Get(progress) < s.target; {
		if s.Ctx.Err() != nil {
			return s.Ctx.Err()
		}
		time.Sleep(time.Duration(10+s.Rand.IntN(60)) * time.Millisecond)
		w := s.workers[s.Rand.IntN(len(s.workers))]
		switch {
		case w.journal.Get(failed) != 0:
			return w.child.Wait()
		case w.name == "stopped":
			w.stopped = !w.stopped
			w.stops++
			w.child.Signal(map[bool]unix.Signal{true: unix.SIGSTOP, false: unix.SIGCONT}[w.stopped])
		case w.Role != "observe" || w.name == "killed":
			w.child.Kill()
			if w.journal.Get(failed) != 0 {
				return w.child.Wait()
			}
			w.kills++
			if err := s.start(w); err != nil {
				return err
			}
		}
		if now := consumer.Get(progress); now != before {
			before, stuck = now, time.Now()
		} else if time.Since(stuck) > labs.Patience {
			return fmt.Errorf("nothing moves behind message %d", now)
		}
	}
	return nil
}

func (s *stage) named(name string) *worker {
	for _, w := range s.workers {
		if w.name == name {
			return w
		}
	}
	return nil
}

// end tells workers to come to an end, and waits for it.
func (s *stage) end(role string, at uint64) error {
	for _, w := range s.workers {
		if w.Role != role {
			continue
		}
		if w.stopped {
			w.child.Signal(unix.SIGCONT)
		}
		w.journal.Set(stop, at)
	}
	for _, w := range s.workers {
		if w.Role != role {
			continue
		}
		if err := w.child.EndOrStacks(nil); err != nil {
			return err
		}
		if err := w.child.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// judge lets all come to an end, and compares what they say.
func (s *stage) judge() error {
	if err := s.end("produce", 1); err != nil {
		return err
	}
	// The last message is one that every observer wants, and finds.
	p, err := shmring.OpenProducer(s.Ctx, ringName, &shmring.Options{Dir: s.Rings, Mode: shmring.ModeOpenOnly})
	if err != nil {
		return err
	}
	defer p.Close()
	id := identity(s.count+1, 0)
	for kindOf(id) != 1 {
		id++
	}
	if err := p.SendKind(s.Ctx, write(make([]byte, longest+8), id), kindOf(id)); err != nil {
		return err
	}
	if err := s.end("consume", 1); err != nil {
		return err
	}
	consumer := s.named("consumer").journal
	all := consumer.state(stateSeq)
	if err := s.end("observe", all); err != nil {
		return err
	}
	s.r.Messages = all
	for _, w := range s.workers {
		if w.Role != "observe" {
			s.r.Kills += w.kills
			continue
		}
		o := observed{Name: w.name, Got: w.journal.state(stateGot), Missed: w.journal.state(stateMissed),
			Last: w.journal.state(stateSeq), Kills: w.kills, Stops: w.stops}
		for i := range sampleCount {
			mine, its := w.journal.Get(samples+word(i)), consumer.Get(samples+word(i))
			if mine != 0 && mine != its {
				s.r.Problem("%s: message %d was %#x, the consumer got %#x", w.name, i*sampleEvery, mine, its)
			} else if mine != 0 {
				o.Agreed++
			}
		}
		if o.Last != all {
			s.r.Problem("%s: the last message has number %d, the consumer has counted %d", w.name, o.Last, all)
		}
		if w.Kinds == nil && o.Got+o.Missed != all {
			s.r.Problem("%s: got %d, missed %d, together not %d", w.name, o.Got, o.Missed, all)
		}
		s.r.Observers = append(s.r.Observers, o)
	}
	return nil
}

// close removes what was made.
func (s *stage) close() {
	s.KillAll()
	for _, w := range s.workers {
		w.journal.Close()
	}
	if err := shmring.Remove(context.Background(), ringName, &shmring.AdminOptions{Dir: s.Rings}); err != nil {
		s.r.Problem("%v", err)
	}
}
