package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/shm"
)

// The mode without an attacker: rings are opened and closed, or refused, in every way, again and again,
// and the process is what it was.

// opening is one way to open and close rings.
type opening struct {
	name string
	f    func(k *caller, o shmring.Options) error
}

// openSoon is how long what is done with one ring may take.
const openSoon = 5 * time.Second

func openBoth(ctx context.Context, o shmring.Options) (p *shmring.Producer, c *shmring.Consumer, err error) {
	if p, err = shmring.OpenProducer(ctx, attacked, &o); err != nil {
		return nil, nil, err
	}
	if c, err = shmring.OpenConsumer(ctx, attacked, &o); err != nil {
		return nil, nil, errors.Join(err, p.Close())
	}
	return p, c, nil
}

// refused wants an error of that kind.
func refused(err, want error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("%w, want %w", err, want)
	}
	return nil
}

var openings = []opening{
	{"open and close", func(k *caller, o shmring.Options) error {
		p, c, err := openBoth(context.Background(), o)
		if err != nil {
			return err
		}
		err = p.Send(context.Background(), k.message())
		_, lost := c.Receive(context.Background(), k.buffer)
		return errors.Join(err, lost, p.Close(), c.Close())
	}},
	{"prefaulted and locked", func(_ *caller, o shmring.Options) error {
		o.Prefault, o.Mlock, o.HugePages = true, true, true
		p, c, err := openBoth(context.Background(), o)
		if err != nil {
			return err
		}
		return errors.Join(p.Close(), c.Close())
	}},
	{"refused: the role, the geometry, the context", func(_ *caller, o shmring.Options) error {
		p, c, err := openBoth(context.Background(), o)
		if err != nil {
			return err
		}
		_, busy := shmring.OpenConsumer(context.Background(), attacked, &o)
		other := o
		other.Slots, other.Prefault = o.Slots*2, true
		_, mismatch := shmring.OpenConsumer(context.Background(), attacked, &other)
		over, cancel := context.WithCancel(context.Background())
		cancel()
		_, late := shmring.OpenConsumer(over, attacked, &o)
		if _, ok := errors.AsType[*shmring.GeometryError](mismatch); !ok {
			return fmt.Errorf("another geometry: %w", mismatch)
		}
		return errors.Join(refused(busy, shmring.ErrBusy), refused(late, context.Canceled), p.Close(), c.Close())
	}},
	{"refused: what is no ring", func(k *caller, o shmring.Options) error {
		o.Mode, o.Prefault, o.Mlock = shmring.ModeOpenOnly, true, true
		if err := os.WriteFile(k.path(), make([]byte, 2<<20), 0o600); err != nil {
			return err
		}
		_, err := shmring.OpenConsumer(context.Background(), attacked, &o)
		return errors.Join(refused(err, shmring.ErrFormat), os.Remove(k.path()))
	}},
	{"refused: a ring that was cut, or made longer", func(k *caller, o shmring.Options) error {
		p, err := shmring.OpenProducer(context.Background(), attacked, &o)
		if err != nil {
			return err
		}
		size := p.Info().Size
		err = p.Close()
		o.Mode, o.Prefault = shmring.ModeOpenOnly, true
		for _, to := range []int64{size / 2, 1 << 40, size} { // there are holes in it by now
			err = errors.Join(err, os.Truncate(k.path(), to))
			_, lost := shmring.OpenConsumer(context.Background(), attacked, &o)
			err = errors.Join(err, refused(lost, shmring.ErrCorrupt))
		}
		return err
	}},
	{"closed while parked", func(k *caller, o shmring.Options) error { return closedAsleep(k, o, shmring.WaitPark) }},
	{"closed while asleep", func(k *caller, o shmring.Options) error { return closedAsleep(k, o, shmring.WaitSleep) }},
	{"sealed", func(_ *caller, o shmring.Options) error {
		o.Dir, o.Doorbell = "", shmring.DoorbellAuto
		if os.Getenv(shmring.EnvLocks) == "flock" {
			return nil // there are none
		}
		s, err := shmring.NewSealed(context.Background(), attacked, &o)
		if err != nil {
			return err
		}
		p, err := s.OpenProducer(context.Background(), &o)
		if err != nil {
			return errors.Join(err, s.Close())
		}
		another, busy := s.OpenProducer(context.Background(), &o)
		if o.Kind == shmring.KindMPSC && busy == nil {
			busy = errors.Join(shmring.ErrBusy, another.Close()) // there is room for more
		}
		return errors.Join(refused(busy, shmring.ErrBusy), p.Close(), s.Close())
	}},
}

// closedAsleep closes a consumer that sleeps, and a Poller beside it.
func closedAsleep(k *caller, o shmring.Options, how shmring.WaitPolicy) error {
	o.WaitPolicy = how
	p, c, err := openBoth(context.Background(), o)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		_, err := c.Receive(context.Background(), make([]byte, 8))
		ended <- err
	}()
	for begin := time.Now(); c.Stats().Sleeps == 0; runtime.Gosched() {
		if time.Since(begin) > labs.Patience {
			k.r.wrong("it does not sleep")
			break
		}
	}
	begin := time.Now()
	err = c.Close()
	k.r.mu.Lock()
	k.r.closed(time.Since(begin))
	k.r.mu.Unlock()
	return errors.Join(err, refused(<-ended, shmring.ErrClosed), p.Close())
}

// opens goes through all openings, again and again.
func (r *report) opens(a arguments) error {
	k := r.caller(a, a.Seed)
	defer k.done()
	chance := rand.New(rand.NewPCG(a.Seed, 3))
	first := footprint{}
	for ; r.Rounds < a.Rounds && !r.tooMuch(); r.Rounds++ {
		way := openings[r.Rounds%len(openings)]
		o := shmring.Options{
			Dir: a.Dir, Kind: shmring.KindSPSC + shmring.Kind(chance.IntN(2)), Doorbell: doorbells[chance.IntN(len(doorbells))],
			Slots: 64 << (7 * chance.IntN(2)), Untrusted: chance.IntN(2) == 0,
		}
		if err := os.Setenv(shmring.EnvLocks, []string{"ofd", "flock"}[r.Rounds/len(openings)%2]); err != nil {
			return err
		}
		_ = k.do(way.name, openSoon, func(context.Context) error {
			if err := way.f(k, o); err != nil {
				r.wrong("%s (%d, %v, %v): %v", way.name, r.Rounds, o.Kind, o.Doorbell, err)
			}
			return nil
		})
		if _, err := os.Stat(filepath.Join(a.Dir, attacked+shm.Suffix)); err == nil {
			if err := shmring.Remove(context.Background(), attacked, k.admin()); err != nil {
				r.wrong("Remove behind %s: %v", way.name, err)
			}
		}
		// Each has been there often enough for what the runtime keeps.
		if n := r.Rounds + 1; n == warm*len(openings) || n == a.Rounds {
			now, leak := settled(first)
			if first == (footprint{}) {
				first = now
			}
			if leak != "" {
				r.wrong("after %d: %s", n, leak)
			}
			r.Footprint = append(r.Footprint, now.String())
		}
	}
	return nil
}

// warm is how many rounds of all openings there are before the process is looked at first.
const warm = 6
