package fanout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shmring/shmring"
)

// PartialError says that a send ended with its context when some targets had the message, or of a batch some messages,
// and others had not. The whole is taken: those that wait get it before any later message, with the next send or with
// Flush. It must not be sent again.
type PartialError struct {
	Waiting []string // targets that do not have all of it
	Err     error    // of the context: a *shmring.ContextError
}

// Error names the targets and says what to do.
func (e *PartialError) Error() string {
	return fmt.Sprintf("fanout: %v: it is taken, and kept for %s, which had no room: "+
		"Flush or the next send delivers it there; do not send it again", e.Err, strings.Join(e.Waiting, ", "))
}

// Unwrap returns the context's error.
func (e *PartialError) Unwrap() error { return e.Err }

// Loss is a target that was given up, and why.
type Loss struct {
	Name string
	Err  error
}

// LostError says that targets with the policy Block were given up in this send. All others have the message.
type LostError struct{ Lost []Loss }

// Error names the targets and why they were given up.
func (e *LostError) Error() string {
	var texts []string
	for _, l := range e.Lost {
		texts = append(texts, fmt.Sprintf("target %s gets no more: %s", l.Name,
			strings.TrimPrefix(l.Err.Error(), "shmring: ")))
	}
	return "fanout: " + strings.Join(texts, "; ")
}

// Unwrap returns why.
func (e *LostError) Unwrap() (list []error) {
	for _, l := range e.Lost {
		list = append(list, l.Err)
	}
	return list
}

// Send sends a copy of msg, which may be empty, to all targets: first to all that have room, then, at the same time, to
// those that have none, as their policies say. It allocates nothing while there is room. Errors:
//
//   - [*LostError]: it was sent, and some targets are given up.
//   - [*PartialError]: ctx ended, and some targets have it, the others get it later.
//   - All others: nobody has it. [ErrNoTargets]; a [*shmring.SizeError], of the target that takes least;
//     a [*shmring.ContextError]; shmring.ErrClosed (if Close came during the call it is not known who has it).
func (f *FanOut) Send(ctx context.Context, msg []byte) error { return f.SendKind(ctx, msg, 0) }

// SendKind is Send with a message type of the user's own.
func (f *FanOut) SendKind(ctx context.Context, msg []byte, kind uint16) error {
	f.enter()
	err := f.admit(ctx, len(msg))
	if err == nil {
		f.one[0] = msg
		f.taken = taken{msgs: f.one[:], kind: kind}
		err = f.deliver(ctx)
		f.one[0] = nil
	}
	err = f.report(err)
	f.leave()
	return err
}

// SendBatch sends copies of all msgs, in order, as Producer.SendBatch does, to all targets. It is one send: Drop
// leaves out what is left of it, and a PartialError is about all of it. Errors: those of Send.
func (f *FanOut) SendBatch(ctx context.Context, msgs [][]byte) error {
	f.enter()
	defer f.leave()
	longest := 0
	for _, m := range msgs {
		longest = max(longest, len(m))
	}
	err := f.admit(ctx, longest)
	if err == nil && len(msgs) > 0 {
		f.taken = taken{msgs: msgs}
		err = f.deliver(ctx)
	}
	return f.report(err)
}

// Flush delivers what a send has left to be delivered, see [PartialError]. Errors: *PartialError, *LostError;
// shmring.ErrClosed.
func (f *FanOut) Flush(ctx context.Context) error {
	f.enter()
	defer f.leave()
	if f.closed.Load() {
		return shmring.ErrClosed
	}
	var err error
	if f.taken.kept {
		err = f.rest(ctx)
	}
	return f.report(err)
}

// report adds the targets that were lost to what a call says. Where nobody has the message they are told of later.
func (f *FanOut) report(err error) error {
	if len(f.lost) == 0 {
		return err
	}
	_, partial := errors.AsType[*PartialError](err)
	if err != nil && err != ErrNoTargets && !partial {
		return err
	}
	lost := &LostError{f.lost}
	f.lost = nil
	if err == nil {
		return lost
	}
	return errors.Join(err, lost)
}

// admit sees to it that the next messages can be taken, of which the longest is that long.
func (f *FanOut) admit(ctx context.Context, longest int) error {
	if f.taken.kept {
		err := f.rest(ctx)
		if partial, is := errors.AsType[*PartialError](err); is {
			return partial.Err // the next message is not taken
		}
		if err != nil {
			return err
		}
	}
	most := f.max.Load()
	switch {
	case f.closed.Load():
		return shmring.ErrClosed
	case most == 0:
		return ErrNoTargets
	case int64(longest) > most:
		return f.tooLarge(longest)
	}
	return ended(ctx)
}

func (f *FanOut) tooLarge(size int) error {
	for _, t := range *f.targets.Load() {
		if t.why() == nil && t.Producer.MaxMessage() < size {
			return &shmring.SizeError{Ring: t.Name, Size: size, Max: t.Producer.MaxMessage()}
		}
	}
	return ErrNoTargets // it has just gone
}

// ended is the error of a context that is done.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return &shmring.ContextError{Op: "fan out", Err: err, Cause: context.Cause(ctx)}
	}
	return nil
}

// deliver gives what is taken to all targets.
func (f *FanOut) deliver(ctx context.Context) error {
	list := *f.targets.Load()
	full := 0
	for _, t := range list {
		what, err := t.try(&f.taken)
		switch what {
		case noRoom:
			full++
		case broken:
			f.giveUp(t, err)
		}
	}
	if full > 0 || len(f.lost) > 0 || f.closed.Load() {
		return f.rest(ctx)
	}
	return nil
}

// rest waits for those that do not have all of what is taken.
func (f *FanOut) rest(ctx context.Context) error {
	var open []*target
	reached := f.taken.kept
	for _, t := range *f.targets.Load() {
		t.mu.Lock()
		if !t.over && t.why() == nil {
			open = append(open, t)
		}
		reached = reached || t.got > 0
		t.mu.Unlock()
	}
	open, more := f.waitAll(ctx, open)
	reached = reached || more
	switch {
	case f.closed.Load():
		f.taken = taken{}
		return shmring.ErrClosed
	case len(open) > 0 && !reached:
		f.taken = taken{}
		return ended(ctx)
	case len(open) > 0:
		return f.keep(ctx, open)
	}
	f.taken = taken{}
	return nil
}

// waitAll waits for all of them at the same time. It returns those whose context ended first, and whether anything was
// sent.
func (f *FanOut) waitAll(ctx context.Context, list []*target) (open []*target, sent bool) {
	begin := time.Now()
	whats, errs, had := make([]outcome, len(list)), make([]error, len(list)), make([]int, len(list))
	var others sync.WaitGroup
	for i, t := range list {
		had[i] = t.got // nobody sends with it yet
		work := func() { whats[i], errs[i] = t.wait(ctx, &f.taken, begin) }
		if i < len(list)-1 {
			others.Go(work)
		} else {
			work()
		}
	}
	others.Wait()
	for i, t := range list {
		sent = sent || t.got > had[i]
		switch whats[i] {
		case waits:
			open = append(open, t)
		case broken:
			f.giveUp(t, errs[i])
		}
	}
	return open, sent
}

// keep copies what is taken for those that wait for it.
func (f *FanOut) keep(ctx context.Context, open []*target) error {
	e := &PartialError{Err: ended(ctx)}
	if !f.taken.kept {
		f.taken.kept = true
		copies := make([][]byte, len(f.taken.msgs))
		for i, msg := range f.taken.msgs {
			copies[i] = slices.Clone(msg)
		}
		f.taken.msgs = copies
	}
	for _, t := range open {
		t.incomplete.Store(true)
		e.Waiting = append(e.Waiting, t.Name)
	}
	return e
}

// giveUp ends a target that is broken.
func (f *FanOut) giveUp(t *target, why error) {
	t.incomplete.Store(true)
	_ = t.finish(why) // why is the news
	if why = t.why(); errors.Is(why, errRemoved) {
		return // meanwhile
	}
	f.mu.Lock()
	f.store(*f.targets.Load())
	f.mu.Unlock()
	if t.Policy == Block && !f.closed.Load() {
		f.lost = append(f.lost, Loss{t.Name, why})
	}
	if f.OnGone != nil {
		f.OnGone(t.Name, why)
	}
}
