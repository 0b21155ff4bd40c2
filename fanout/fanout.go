package fanout

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring"
)

// Policy says what becomes of a message that a target has no room for.
type Policy int

const (
	// Block waits for room, as long as the context of the send lasts. Nothing is lost.
	Block Policy = iota
	// Drop leaves the message out, for this target, and counts it.
	Drop
	// Disconnect gives the target up: its consumer is told that what it got is not the whole
	// (shmring.ErrFailed), and it gets no more.
	Disconnect
)

var policies = [...]string{"block", "drop", "disconnect"}

// String is the word for it.
func (p Policy) String() string {
	if p < 0 || int(p) >= len(policies) {
		return fmt.Sprintf("policy(%d)", int(p))
	}
	return policies[p]
}

// ParsePolicy is the way back: "block", "drop" or "disconnect".
func ParsePolicy(s string) (Policy, error) {
	if i := slices.Index(policies[:], s); i >= 0 {
		return Policy(i), nil
	}
	return 0, fmt.Errorf("fanout: policy %q: want block, drop or disconnect", s)
}

// Target is a ring that gets the messages.
type Target struct {
	// Name is what errors and Stats call it. No two of a FanOut have the same.
	Name string
	// Producer sends to it. It belongs to the FanOut from Add on, which alone sends with it, and closes it. Its options
	// WhenFull and SendTimeout stay zero. If it was opened with shmring.NoPeerFail, there is no room while nobody is at
	// the other end: Drop drops, Disconnect disconnects, and Block gives the target up likewise, which
	// a send tells by a *LostError.
	Producer *shmring.Producer
	// Policy is for a full ring.
	Policy Policy
	// Wait is how long a send waits for room before Drop or Disconnect is done. Zero: not at all. For Block it is
	// not used: the context bounds the wait.
	Wait time.Duration
}

// ErrNoTargets means that there is no target, or none that is still there. Nothing was sent.
var ErrNoTargets = errors.New("fanout: no target")

// ErrExists: there is a target of that name, and it is not gone.
var ErrExists = errors.New("there is a target of that name")

var errRemoved = errors.New("removed")

// FanOut sends messages to all its targets. Sends, Flush and FailSend are for one goroutine at a time; Add,
// Remove, Close, Stats, Len and MaxMessage may be called by any at any time. A new target gets the messages
// of the sends that begin after Add.
type FanOut struct {
	// OnGone, if not nil, is called when a target is given up, by the goroutine that sends; not for those
	// that Remove or Close end. It is set before the first send, and may call Add, Remove and Stats.
	OnGone func(name string, why error)

	mu      sync.Mutex // changes of the list
	targets atomic.Pointer[[]*target]
	max     atomic.Int64 // the longest message that all take
	closed  atomic.Bool
	busy    atomic.Bool // a send is running

	// Of who sends.
	one   [1][]byte // the message of Send, as a batch
	taken taken
	lost  []Loss // of this send
}

// taken are the messages that all targets are to get.
type taken struct {
	msgs [][]byte
	kind uint16
	kept bool // msgs are our own copy, because some targets still wait for them
}

// New makes a FanOut without targets. Who has it closes it: one that is forgotten keeps its roles, as any handle does,
// until the process ends, and its consumers wait for more until then; to them it has died.
func New() *FanOut {
	f := &FanOut{}
	f.targets.Store(&[]*target{})
	return f
}

// Add adds a target. One that is gone and has the same name is replaced. Errors: those that match ErrExists;
// shmring.ErrClosed. The producer is then still the caller's. A target without a producer or with an unknown
// policy panics.
func (f *FanOut) Add(t Target) error {
	if t.Producer == nil || t.Policy < Block || t.Policy > Disconnect || t.Wait < 0 {
		panic(fmt.Sprintf("fanout: target %q: want a producer, a policy that there is, and no negative Wait", t.Name))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed.Load() {
		return shmring.ErrClosed
	}
	var list []*target
	for _, old := range *f.targets.Load() {
		switch {
		case old.Name != t.Name:
			list = append(list, old)
		case old.why() == nil:
			return fmt.Errorf("fanout: target %s: %w", t.Name, ErrExists)
		}
	}
	f.store(append(list, newTarget(t)))
	return nil
}

// store replaces the list. f.mu is held.
func (f *FanOut) store(list []*target) {
	longest := int64(0)
	for _, t := range list {
		if n := int64(t.Producer.MaxMessage()); t.why() == nil && (longest == 0 || n < longest) {
			longest = n
		}
	}
	f.max.Store(longest)
	f.targets.Store(&list)
}

// Remove ends the stream of a target and forgets it. A send that waits for it goes on without it. Its consumer gets
// io.EOF (nothing, if the producer was opened with Options.KeepStream), or, if the target still waits for what a
// send has left to be delivered ([PartialError]), shmring.ErrFailed. known is false if there is none of that
// name. Errors: those of Producer.Close.
func (f *FanOut) Remove(name string) (known bool, err error) {
	f.mu.Lock()
	list := slices.Clone(*f.targets.Load())
	i := slices.IndexFunc(list, func(t *target) bool { return t.Name == name })
	if i < 0 {
		f.mu.Unlock()
		return false, nil
	}
	t := list[i]
	f.store(slices.Delete(list, i, i+1))
	f.mu.Unlock()
	return true, t.finish(errRemoved)
}

// Len is how many targets there are that are not gone.
func (f *FanOut) Len() (n int) {
	for _, t := range *f.targets.Load() {
		if t.why() == nil {
			n++
		}
	}
	return n
}

// MaxMessage is the length of the longest message that all targets take, in bytes; 0 without targets.
func (f *FanOut) MaxMessage() int { return int(f.max.Load()) }

// Close ends the streams of all targets, as Remove does, and closes their producers. It never waits for room; a send
// that waits returns shmring.ErrClosed. A second Close does nothing.
func (f *FanOut) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed.Swap(true) {
		return nil
	}
	var errs []error
	for _, t := range *f.targets.Load() {
		if err := t.finish(shmring.ErrClosed); err != nil {
			errs = append(errs, fmt.Errorf("fanout: target %s: %w", t.Name, err))
		}
	}
	return errors.Join(errs...)
}

// FailSend ends the streams of all targets and tells their consumers that what they got is not the
// whole, for the caller's own input broke off: shmring.ErrFailed. It never waits. Later sends return
// ErrNoTargets. Errors: those of Producer.Close.
func (f *FanOut) FailSend() error {
	f.enter()
	defer f.leave()
	var errs []error
	for _, t := range *f.targets.Load() {
		t.incomplete.Store(true)
		errs = append(errs, t.finish(shmring.ErrEnded))
	}
	f.mu.Lock()
	f.store(*f.targets.Load())
	f.mu.Unlock()
	return errors.Join(errs...)
}

// enter begins a call that only one goroutine may make at a time.
func (f *FanOut) enter() {
	if f.busy.Swap(true) {
		panic("fanout: two goroutines send with one FanOut at the same time")
	}
}

func (f *FanOut) leave() { f.busy.Store(false) }
