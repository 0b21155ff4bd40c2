package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/shm"
)

func init() { roles["storm"] = stormy }

// Words of the role storm.
const (
	died    word = extra + iota // when it began to kill itself; 0: not yet
	opens                       // that succeeded
	creates                     // of those, how many made the ring
	removes                     // rings removed
	refuses                     // opens and removes that were refused as they should be
)

// stormRing is the name, and the only geometry, of a ring of the storm.
func stormRing(i int, dir string) (string, shmring.Options) {
	kinds := []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC}
	return fmt.Sprintf("storm%d", i), shmring.Options{Dir: dir, Kind: kinds[i%2], Slots: 64, SlotSize: 128,
		MaxMessage:   2000,
		MaxProducers: 1 + i%2*3}
}

// rush as args.Text: only creations and removals, without a pause; by most, only
// removals, because one who has the ring open keeps it from being removed.
const rush = "rush"

// impatient is over already: a storm has no time to wait for a ring that is in use.
var impatient = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// stormer is one of Count processes that share Number names. It opens, uses, leaves and
// removes rings, and dies now and then.
type stormer struct {
	a    args
	j    *journal
	rng  *rand.Rand
	next uint64 // number of its next message
}

func stormy(ctx context.Context, a args, j *journal) error {
	s := &stormer{a: a, j: j, rng: rand.New(rand.NewPCG(a.Seed, uint64(a.Life)))}
	// Some hurry: they meet others in the middle of every step. The rest leave the rings
	// free now and then.
	pause := a.Count * 600
	if s.rng.IntN(3) == 0 || a.Text == rush {
		pause = 1
	}
	j.Set(phase, running)
	for j.Get(command) == 0 {
		name := s.rng.IntN(a.Number)
		if s.rng.IntN(60) == 0 {
			go dieAt(monotonic()+int64(s.rng.IntN(300_000)), j)
		}
		var err error
		switch kind := s.rng.IntN(4); {
		case kind == 0, a.Text == rush && (kind == 1 || a.Lane%4 > 0):
			err = s.remove(name)
		case kind == 1:
			err = s.consume(ctx, name)
		default:
			err = s.produce(ctx, name)
		}
		if err != nil {
			return err
		}
		time.Sleep(time.Duration(s.rng.Uint64N(pause)) * time.Microsecond)
	}
	return nil
}

// dieAt spins, because a sleep is longer than most of what it should interrupt.
func dieAt(at int64, j *journal) {
	for monotonic() < at {
	}
	j.Put(died, uint64(monotonic()))
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
}

func (s *stormer) add(w word) { s.j.Put(w, s.j.Get(w)+1) }

func (s *stormer) blame(what uint64, format string, args ...any) error {
	s.j.Put(blame, what)
	return fmt.Errorf(format, args...)
}

// options choose a mode, and a context that is short enough to end in the middle.
func (s *stormer) options(ctx context.Context, name int) (context.Context, context.CancelFunc, string,
	shmring.Options) {
	ring, o := stormRing(name, s.a.Dir)
	if o.Mode = shmring.ModeOpenOrCreate; s.a.Text != rush {
		o.Mode = shmring.Mode(s.rng.IntN(int(shmring.ModeOpenWait) + 1))
	}
	o.WaitForRole = s.rng.IntN(4) == 0
	o.KeepStream = s.rng.IntN(2) == 0
	ctx, cancel := context.WithTimeout(ctx, time.Duration(1+s.rng.IntN(30))*time.Millisecond)
	return ctx, cancel, ring, o
}

// halfMade are the errors of a ring that is not, or not yet, what its creator meant.
var halfMade = []error{shmring.ErrFormat, shmring.ErrCorrupt, shmring.ErrVersion, shm.ErrTruncated, shm.ErrRefused,
	io.ErrUnexpectedEOF}

// refusal tells whether an open may end with that error in a storm. ErrOrphaned is not
// among them: nobody replaces a ring a hundred times while one process opens it.
func (s *stormer) refusal(o shmring.Options, err error) error {
	var geometry *shmring.GeometryError
	for _, e := range halfMade {
		if errors.Is(err, e) || errors.As(err, &geometry) {
			return s.blame(blameTorn, "half-initialised ring: %w", err)
		}
	}
	switch {
	case errors.Is(err, shmring.ErrBusy), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, fs.ErrExist) && o.Mode == shmring.ModeCreateOnly,
		errors.Is(err, fs.ErrNotExist) && o.Mode == shmring.ModeOpenOnly:
		s.add(refuses)
		return nil
	}
	return s.blame(blameOther, "open in mode %d: %w", o.Mode, err)
}

func (s *stormer) remove(name int) error {
	ring, o := stormRing(name, s.a.Dir)
	err := shmring.Remove(impatient, ring, &shmring.AdminOptions{Dir: o.Dir})
	switch {
	case err == nil:
		s.add(removes)
	case errors.Is(err, shmring.ErrBusy), errors.Is(err, fs.ErrNotExist):
		s.add(refuses)
	default:
		return s.blame(blameOther, "remove: %w", err)
	}
	return nil
}

// incarnation is the life of an open ring: use, between what is noted of it and checks that
// its name means this ring and no other.
func (s *stormer) incarnation(info shmring.Info, use func() error) error {
	path := filepath.Join(s.a.Dir, info.Name+shm.Suffix)
	inode, err := inodeOf(path)
	if err != nil {
		return s.blame(blameSplit, "of a ring that is open: %w", err)
	}
	s.j.opened(info, inode)
	s.add(opens)
	if info.Created {
		s.add(creates)
	}
	if err := use(); err != nil {
		return err
	}
	if s.rng.IntN(8) == 0 {
		if err := shmring.Remove(impatient, info.Name, &shmring.AdminOptions{Dir: s.a.Dir}); !errors.Is(err,
			shmring.ErrBusy) {
			return s.blame(blameSplit, "remove, of a ring that is open, says %v", err)
		}
	}
	now, err := inodeOf(path)
	if err != nil || now != inode {
		return s.blame(blameSplit, "%s was file %d and is %d (%v) while it is open", path, inode, now, err)
	}
	s.j.closing()
	return nil
}

func (s *stormer) produce(ctx context.Context, name int) error {
	ctx, cancel, ring, o := s.options(ctx, name)
	defer cancel()
	s.j.opening(name, false)
	p, err := shmring.OpenProducer(ctx, ring, &o)
	if err != nil {
		return s.refusal(o, err)
	}
	err = s.incarnation(p.Info(), func() error {
		out := &sender{p: p, a: s.a, j: s.j, most: p.MaxMessage()}
		for range s.rng.IntN(10) {
			msg := out.message(s.next)
			var err error
			if s.rng.IntN(6) == 0 {
				var c shmring.Claim
				if c, err = p.TryClaim(len(msg)); err == nil {
					c.Abort()
				}
			} else if err = p.TrySend(msg); err == nil {
				s.next++
			}
			if err != nil && !errors.Is(err, shmring.ErrFull) && !errors.Is(err, shmring.ErrContended) {
				return s.blame(blameOther, "send: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := p.Close(); err != nil && !errors.Is(err, context.DeadlineExceeded) { // the end of the stream, on a full ring
		return s.blame(blameOther, "close: %w", err)
	}
	return nil
}

func (s *stormer) consume(ctx context.Context, name int) error {
	ctx, cancel, ring, o := s.options(ctx, name)
	defer cancel()
	s.j.opening(name, true)
	c, err := shmring.OpenConsumer(ctx, ring, &o)
	if err != nil {
		return s.refusal(o, err)
	}
	err = s.incarnation(c.Info(), func() error {
		for range s.rng.IntN(40) {
			m, err := c.TryNext()
			if err == nil {
				keep(s.j, m)
				m.Release()
				continue
			}
			if expected(err) != nil {
				return s.blame(blameOther, "receive: %w", err)
			}
			if err := c.Check(); expected(err) != nil {
				return s.blame(blameOther, "check: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.Close(); err != nil {
		return s.blame(blameOther, "close: %w", err)
	}
	return nil
}
