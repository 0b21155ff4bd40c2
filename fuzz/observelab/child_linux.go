package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// args are those of a child.
type args struct {
	Role        string // produce, consume, observe
	Dir         string
	MPSC        bool
	Journal     string // of this child
	Incarnation uint64
	Seed        uint64
	Batches     bool
	Nap         int // microseconds, now and then
	Kinds       []uint16
}

// word of a journal, which outlives its child.
type word int

const (
	ready    word = iota
	stop          // set by the lab: come to an end. Of an observer: behind the message of that number
	failed        // 1: what it says on stderr is a problem
	progress      // messages that were sent, counted or returned
	turn          // which of the two states below is whole
	states        // two states
	samples  = states + 2*stateWords
)

// state is what a consumer or an observer has to know of what it did before it was killed.
const (
	statePos   word = iota // position of the last message
	stateIndex             // and its index
	stateSeq               // its number
	stateGot               // messages that were returned
	stateMissed
	stateWords
)

// Of each message whose number is a multiple of sampleEvery the identity is noted.
const (
	sampleEvery = 1 << 10
	sampleCount = 1 << 18
	allWords    = samples + sampleCount
)

type journal struct{ *labs.Words[word] }

func (j journal) state(w word) uint64 { return j.Get(states + word(j.Get(turn)&1)*stateWords + w) }

// note replaces the state as a whole.
func (j journal) note(s [stateWords]uint64) {
	t := j.Get(turn) + 1
	for i, v := range s {
		j.Put(states+word(t&1)*stateWords+word(i), v)
	}
	j.Put(turn, t)
	j.Put(progress, s[stateSeq])
}

func (j journal) sample(seq, id uint64) {
	if seq%sampleEvery == 0 && seq/sampleEvery < sampleCount {
		j.Put(samples+word(seq/sampleEvery), id)
	}
}

func openJournal(path string) (journal, error) {
	w, err := labs.OpenWords[word](path, allWords, 0)
	return journal{w}, err
}

func child(text string) error {
	var a args
	if err := labs.BeChild(text, &a); err != nil {
		return err
	}
	j, err := openJournal(a.Journal)
	if err != nil {
		return err
	}
	run := map[string]func(args, journal) error{"produce": produce, "consume": consume, "observe": observe}[a.Role]
	if err := run(a, j); err != nil {
		j.Put(failed, 1)
		return fmt.Errorf("%s %d: %w", a.Role, a.Incarnation, err)
	}
	return nil
}

func (a args) options() *shmring.Options {
	o := &shmring.Options{Dir: a.Dir, Mode: shmring.ModeOpenOnly, WaitForRole: true, KeepStream: true}
	return o
}

// produce sends until it is told to stop, or killed.
func produce(a args, j journal) error {
	ctx := context.Background()
	p, err := shmring.OpenProducer(ctx, ringName, a.options())
	if err != nil {
		return err
	}
	defer p.Close()
	j.Set(ready, 1)
	rng := rand.New(rand.NewPCG(a.Seed, a.Incarnation))
	bufs := make([][]byte, 32)
	for i := range bufs {
		bufs[i] = make([]byte, longest+8)
	}
	for k := uint64(0); j.Get(stop) == 0; {
		if a.Batches && rng.IntN(8) == 0 { // whose messages are all of kind 0
			batch := make([][]byte, 0, len(bufs))
			for i := range 1 + rng.IntN(len(bufs)) {
				batch = append(batch, write(bufs[i], identity(a.Incarnation, k+uint64(i))))
			}
			n, err := p.SendBatch(ctx, batch)
			if k += uint64(n); err != nil {
				return err
			}
			continue
		}
		for range 64 {
			id := identity(a.Incarnation, k)
			if err := p.SendKind(ctx, write(bufs[0], id), kindOf(id)); err != nil {
				return err
			}
			k++
		}
		j.Put(progress, k)
	}
	return nil
}

// consume counts messages, each once though it may get some twice.
func consume(a args, j journal) error {
	c, err := shmring.OpenConsumer(context.Background(), ringName, a.options())
	if err != nil {
		return err
	}
	defer c.Close()
	j.Set(ready, 1)
	scratch := make([]byte, longest+8)
	last := shmring.Position{Record: j.state(statePos), Index: uint32(j.state(stateIndex))}
	seq := j.state(stateSeq)
	handle := func(m shmring.Message) error {
		if pos := m.Position(); seq == 0 || pos.Compare(last) > 0 {
			id, err := read(m.Bytes(), scratch)
			if err != nil {
				return err
			}
			last = pos
			seq++
			j.sample(seq, id)
			j.note([stateWords]uint64{pos.Record, uint64(pos.Index), seq})
		}
		return nil
	}
	for {
		switch err := drain(c, handle); {
		case errors.Is(err, context.DeadlineExceeded):
			if j.Get(stop) != 0 {
				return nil // the ring is empty
			}
		case err == io.EOF, errors.Is(err, shmring.ErrPeerDead):
		default:
			return err
		}
	}
}

// drain handles messages until none has come for a while.
func drain(c *shmring.Consumer, handle func(shmring.Message) error) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	for err == nil {
		_, err = c.Drain(ctx, 0, handle)
	}
	return err
}

// witness is an observer that judges.
type witness struct {
	args
	journal
	o                *shmring.Observer
	seq, got, missed uint64
	scratch          []byte
}

// observe follows until it has come to the last message, or is killed.
func observe(a args, j journal) error {
	w := &witness{args: a, journal: j, seq: j.state(stateSeq), got: j.state(stateGot), missed: j.state(stateMissed),
		scratch: make([]byte, longest+8)}
	opt := &shmring.ObserverOptions{Dir: a.Dir, Kinds: a.Kinds, From: shmring.FromOldest}
	if w.seq > 0 {
		opt.From = shmring.FromAfter(shmring.Observed{Sequence: w.seq, Position: shmring.Position{
			Record: j.state(statePos), Index: uint32(j.state(stateIndex))}})
	}
	var err error
	if w.o, err = shmring.OpenObserver(context.Background(), ringName, opt); err != nil {
		return err
	}
	defer w.o.Close()
	j.Set(ready, 1)
	rng := rand.New(rand.NewPCG(a.Seed, a.Incarnation))
	base := w.missed
	for last := j.Get(stop); last == 0 || w.o.Stats().Sequence < last; last = j.Get(stop) {
		if err := w.some(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if a.Nap > 0 {
			time.Sleep(time.Duration(rng.IntN(a.Nap)) * time.Microsecond)
		}
		if w.o.Stats().Inexact {
			return errors.New("it could not count what it missed")
		}
	}
	// Of what it missed last no message has told.
	s := w.o.Stats()
	w.note([stateWords]uint64{0, 0, s.Sequence, w.got, base + s.Missed})
	return nil
}

// some observes some messages.
func (w *witness) some() error {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	for range 64 {
		m, err := w.o.Next(ctx)
		if err != nil {
			return err
		}
		id, err := read(m.Bytes, w.scratch)
		if err != nil {
			return err
		}
		if want := w.seq + m.Missed + 1; m.Sequence != want && (w.Kinds == nil || m.Sequence < want) {
			return fmt.Errorf("message %#x has number %d, want %d: %d missed behind %d", id, m.Sequence, want, m.Missed, w.seq)
		}
		if m.Kind != kindOf(id) && m.Kind != 0 {
			return fmt.Errorf("message %#x is of kind %d", id, m.Kind)
		}
		w.seq, w.got, w.missed = m.Sequence, w.got+1, w.missed+m.Missed
		w.sample(w.seq, id)
		w.note([stateWords]uint64{m.Position.Record, uint64(m.Position.Index), w.seq, w.got, w.missed})
	}
	return nil
}
