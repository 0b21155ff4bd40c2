package fanout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring"
)

// target is a Target and how far it is.
type target struct {
	Target

	// mu is held by who sends with Producer or ends its stream. life ends when that is to be over, which makes
	// a send that waits give mu back.
	mu   sync.Mutex
	life context.Context
	end  context.CancelCauseFunc

	gone       atomic.Pointer[error] // why it gets no more; set once, with mu held
	incomplete atomic.Bool           // its consumer did not get all that it was promised

	// Of the send that is running, or was cut short by its context; with mu held.
	got  int // of the messages
	over bool

	messages, bytes, dropped, waits atomic.Uint64
}

func newTarget(t Target) *target {
	life, end := context.WithCancelCause(context.Background())
	return &target{Target: t, life: life, end: end, over: true}
}

// why says why it is gone; nil: it is there.
func (t *target) why() error {
	if err := t.gone.Load(); err != nil {
		return *err
	}
	return nil
}

// finish ends the stream and closes the producer, once.
func (t *target) finish(why error) error {
	t.end(why)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.gone.CompareAndSwap(nil, &why) {
		return nil
	}
	if t.incomplete.Load() {
		_ = t.Producer.FailSend() // a ring that is broken tells nobody anything
	}
	return t.Producer.Close()
}

// outcome is what became of an attempt.
type outcome int

const (
	done    outcome = iota // it has all, or is not to get it
	waits                  // its context ended first
	noRoom                 // now
	broken                 // it is to be given up: the error says why
	ignored                // it is gone
)

// try gives it what was just taken, as far as there is room.
func (t *target) try(m *taken) (outcome, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.got, t.over = 0, false
	if t.why() != nil {
		return ignored, nil
	}
	for {
		err := t.put(m)
		switch {
		case err == nil:
			return t.all(), nil
		case err == shmring.ErrContended:
		case err == shmring.ErrFull && (t.Policy == Block || t.Wait > 0):
			return noRoom, nil
		default:
			return t.refused(m, err)
		}
	}
}

// all notes that it has all that it is to have.
func (t *target) all() outcome {
	t.over = true
	if t.incomplete.Load() {
		t.incomplete.Store(false)
	}
	return done
}

// put is one attempt that does not wait.
func (t *target) put(m *taken) (err error) {
	n := 1
	if len(m.msgs) == 1 {
		if err = t.Producer.TrySendKind(m.msgs[0], m.kind); err != nil {
			n = 0
		}
	} else {
		n, err = t.Producer.TrySendBatch(m.msgs[t.got:])
	}
	t.count(m, n)
	return err
}

// count notes that n messages more are sent.
func (t *target) count(m *taken, n int) {
	size := 0
	for _, msg := range m.msgs[t.got : t.got+n] {
		size += len(msg)
	}
	t.got += n
	t.messages.Add(uint64(n))
	t.bytes.Add(uint64(size))
}

// refused is what is done where there is no room and none is waited for, or the ring does not take it at all.
func (t *target) refused(m *taken, err error) (outcome, error) {
	full := err == shmring.ErrFull
	switch {
	case !full && !errors.Is(err, shmring.ErrNoPeer), t.Policy == Block:
		return broken, err
	case t.Policy == Drop:
		t.dropped.Add(uint64(len(m.msgs) - t.got))
		t.Producer.CountDropped(len(m.msgs) - t.got)
		return t.all(), nil
	}
	return broken, fmt.Errorf("%w: disconnected", err)
}

// wait is try that waits for room.
func (t *target) wait(ctx context.Context, m *taken, begin time.Time) (outcome, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.why() != nil {
		return ignored, nil
	}
	t.waits.Add(1)
	bounded, cancel := t.bound(ctx, begin)
	defer cancel()
	var n int
	var err error
	if len(m.msgs) == 1 {
		if err = t.Producer.SendKind(bounded, m.msgs[0], m.kind); err == nil {
			n = 1
		}
	} else {
		n, err = t.Producer.SendBatch(bounded, m.msgs[t.got:])
	}
	t.count(m, n)
	_, ended := errors.AsType[*shmring.ContextError](err)
	switch {
	case err == nil:
		return t.all(), nil
	case !ended:
		return t.refused(m, err)
	case t.life.Err() != nil:
		return ignored, nil // whoever ends it waits for mu
	case ctx.Err() != nil:
		return waits, nil
	}
	return t.refused(m, shmring.ErrFull)
}

// bound returns a context that ends with ctx, when the target ends, and when its Wait is over.
func (t *target) bound(ctx context.Context, begin time.Time) (context.Context, context.CancelFunc) {
	both, cancel := t.life, context.CancelFunc(func() {})
	if ctx.Done() != nil {
		merged, end := context.WithCancelCause(ctx)
		stop := context.AfterFunc(t.life, func() { end(context.Cause(t.life)) })
		both, cancel = merged, func() { stop(); end(nil) }
	}
	if t.Policy == Block {
		return both, cancel
	}
	timed, end := context.WithDeadline(both, begin.Add(t.Wait))
	return timed, func() { end(); cancel() }
}
