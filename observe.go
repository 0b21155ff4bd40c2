package shmring

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"sync"
	"time"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// ObserverOptions tell [OpenObserver] where a ring is, and what of it to follow. The zero value and nil
// are good defaults. What cannot be is refused with an [*OptionError].
type ObserverOptions struct {
	// Dir is where the ring's file is. Empty: the environment variable SHMRING_DIR, else /dev/shm.
	Dir string
	// AnyOwner accepts a ring that belongs to somebody other than us or root, or that everybody may
	// write: whoever may write it decides what is observed.
	AnyOwner bool
	// Wait makes OpenObserver wait for the ring to be there, until the context ends.
	Wait bool
	// From is where to begin. The zero value is [FromNow].
	From Start
	// Kinds are the kinds of messages to be delivered (Message.Kind). Others are passed over, and are not
	// missed. Empty: all.
	Kinds []uint16
	// MaxNap bounds the pauses after which Next looks again: it looks a few times at once, and then after
	// pauses that grow to that. Nobody wakes an observer, so that is how late it may be. Zero:
	// DefaultMaxNap. Otherwise 20 µs to 1 s.
	MaxNap time.Duration
}

// DefaultMaxNap is ObserverOptions.MaxNap, if that is zero.
const DefaultMaxNap = time.Millisecond

const (
	firstNap    = 20 * time.Microsecond
	mostMaxNap  = time.Second
	looksAtOnce = 4 // before the first nap
	// askFileEvery is how often an observer that finds nothing looks what has become of the file.
	askFileEvery = 100 * time.Millisecond
)

func (o *ObserverOptions) orDefault() ObserverOptions {
	if o == nil {
		return ObserverOptions{}
	}
	return *o
}

// resolve is orDefault with the defaults of the options filled in, and checked.
func (o *ObserverOptions) resolve() (ObserverOptions, error) {
	private := o.orDefault()
	if private.MaxNap == 0 {
		private.MaxNap = DefaultMaxNap
	}
	if private.MaxNap < firstNap || private.MaxNap > mostMaxNap {
		return private, &OptionError{"ObserverOptions.MaxNap", private.MaxNap.String(), "20µs to 1s"}
	}
	return private, nil
}

// Start is where an [Observer] begins: [FromNow], [FromOldest], [FromPosition] or [FromAfter].
type Start struct{ s ring.Start }

// Where an [Observer] may begin.
var (
	// FromNow is behind all that is in the ring: with the first message that is sent when OpenObserver has
	// returned, or was just being sent then.
	FromNow = Start{}
	// FromOldest is with the oldest message that the consumer has not released. Of a broadcast ring, which has no
	// consumer, it is the oldest that is there, but for a thirty-second of the ring, or a few KiB.
	FromOldest = Start{ring.Start{From: ring.StartOldest}}
	// FromNewest is with the newest message that is there, released or not: the state of things, for whom each
	// message takes the place of those before it ([Observer.Latest]). If none can be found, because
	// the ring is new, or its consumer has released all long ago, it is FromNow.
	FromNewest = Start{ring.Start{From: ring.StartNewest}}
)

// FromPosition is with the message at a position, which was released or not. If it is overwritten by
// now the oldest that is not released is the first, and its Missed 1: how many there were in between
// is not known ([FromAfter] knows). Where the next message will be is a position too. A position
// at which no message begins is refused with a [*StartError], if that can be told: on an SPSC ring
// bytes of a message may look like one.
func FromPosition(p Position) Start {
	return Start{ring.Start{From: ring.StartAt, Position: ring.Position(p)}}
}

// FromAfter is behind a message that an earlier Observer of this ring has returned, of which Position and
// Sequence matter: to go on where that has stopped. What was overwritten since is missed, and
// counted exactly. A Sequence that is not that of the message there is refused with a [*StartError]: it
// is another ring, or one that was resized meanwhile. A ring that was made anew may have a message of that number at
// that place: [ObserverInfo].UUID tells it from the old one. The zero Observed is what somebody has who
// has got no message yet: then it begins with the first of all, and what of them is overwritten is missed.
func FromAfter(m Observed) Start {
	return Start{ring.Start{From: ring.StartAfter, Position: ring.Position(m.Position), Sequence: m.Sequence}}
}

// Observed is a message that an [Observer] has copied.
type Observed struct {
	Position Position
	Kind     uint16
	Producer int    // participant slot of the sender, as Message.Producer
	Bytes    []byte // a copy, valid until the next call of Next or TryNext
	// Sequence is which message it is of all that were sent since the ring was made, from 1 on. That is exact:
	// it is the same whoever observes, and when. 0: that is not known, because the ring has a
	// consumer of a version before layout 3.2, or of another implementation, that does not keep count.
	Sequence uint64
	// Missed is how many messages, of any kind, were overwritten right before this one, before the Observer had
	// copied them. That is exact, unless ObserverStats.Inexact says that it is not.
	Missed uint64
}

// ObserverStats are what an [Observer] has counted.
type ObserverStats struct {
	Messages  uint64 `json:"messages"`  // returned
	Bytes     uint64 `json:"bytes"`     // of those
	Missed    uint64 `json:"missed"`    // messages that were overwritten before they were copied
	Overtaken uint64 `json:"overtaken"` // how often that has happened
	// Sequence is the number of the last message that was returned, is of a kind that is not wanted, or
	// was missed; 0: it is not known.
	Sequence uint64 `json:"sequence"`
	// Inexact says that Missed is less than it should be: something was missed that could not be
	// counted, see Observed.Sequence and FromPosition.
	Inexact bool `json:"inexact,omitempty"`
}

// Observer follows the messages of a ring and has no part in it. There may be any number. It maps
// the file for reading only, takes no role and no lock, wakes nobody and is woken by nobody:
// producers and the consumer do nothing for it and do not wait for it, [Remove] and
// [Resize] work meanwhile, and it may be stopped or killed at any time.
//
// In exchange it may be too late. It copies each message, asks whether it was whole when it had
// done so, and returns it only then; what producers have overwritten before is missed, and counted. A
// message stays until a whole ring of others was sent behind it, released or not. An observer that
// was overtaken goes on where the consumer is, or, if that happens again at once, where it has a quarter of the ring
// ahead of the producers.
//
// It sees messages in the order in which the consumer gets them, each once; so it waits for claims of
// others that are not finished, and a message that is delivered to a consumer again is not observed
// again. Ends of streams are no messages: Next goes on waiting.
//
// Next and TryNext are for one goroutine at a time; Close and Stats may be called by any goroutine at
// any time.
type Observer struct {
	name string
	nap  time.Duration
	file *shm.Onlooker
	info ObserverInfo

	mu     sync.Mutex // held while the file's memory is touched
	ring   *ring.Observer
	failed error     // that every later call returns
	asked  time.Time // when the file was looked at
	closed bool
	done   chan struct{} // closed by Close
}

// ObserverInfo describes an [Observer].
type ObserverInfo struct {
	Name     string
	Path     string
	UUID     [16]byte // of the ring
	Kind     Kind
	Geometry Geometry
}

// OpenObserver begins to observe the named ring. ctx bounds waiting for the ring, and the search for where to
// begin, not the life of the observer. Errors: fs.ErrNotExist, fs.ErrPermission, [ErrRefused] and
// [*FormatError] as for those who take part; [*StartError]; [*CorruptError];
// [*TruncatedError]; ErrUnsupported; a [*ContextError].
func OpenObserver(ctx context.Context, name string, o *ObserverOptions) (*Observer, error) {
	private, err := o.resolve()
	if err != nil {
		return nil, err
	}
	path, err := shm.Path(name, &shm.Options{Dir: private.Dir})
	if err != nil {
		return nil, err
	}
	if err := contextEnded(ctx, name, "observe"); err != nil {
		return nil, err
	}
	file, err := lookForRing(ctx, name, path, &private)
	if err != nil {
		return nil, ofFile(path, named(name, err))
	}
	return observe(ctx, name, file, &private)
}

// observe begins to observe the ring in a file, which is the observer's then, and closed after an error.
func observe(ctx context.Context, name string, file *shm.Onlooker, o *ObserverOptions) (*Observer, error) {
	in := &Observer{name: name, nap: o.MaxNap, file: file, done: make(chan struct{})}
	if err := in.begin(ctx, o); err != nil {
		file.Close()
		return nil, ofFile(file.Path(), named(name, err))
	}
	return in, nil
}

// lookForRing opens the file of a ring to look at it.
func lookForRing(ctx context.Context, name, path string, o *ObserverOptions) (file *shm.Onlooker, err error) {
	a := newAppearance(name, &shm.Options{Dir: o.Dir})
	defer a.stop()
	err = a.do(ctx, func() (bool, error) {
		file, err = lookAt(path)
		if o.Wait && errors.Is(err, fs.ErrNotExist) {
			a.watch()
			return false, err
		}
		if err != nil {
			return true, err
		}
		if o.AnyOwner {
			return true, nil
		}
		if err = file.Trusted(); err != nil {
			file.Close()
		}
		return true, err
	})
	return file, err
}

// begin checks the file and finds the first message.
func (o *Observer) begin(ctx context.Context, opt *ObserverOptions) error {
	var err error
	lost := o.safely(func() {
		var v *layout.View
		if v, err = layout.Parse(o.file.Bytes()); err != nil {
			return
		}
		cfg := v.Config
		o.info = ObserverInfo{o.name, o.file.Path(), cfg.UUID, Kind(cfg.Kind), geometryOf(cfg)}
		o.ring = ring.NewObserver(v, opt.Kinds)
		err = o.ring.Begin(opt.From.s, func() error { return contextEnded(ctx, o.name, "observe") })
	})
	if lost != nil {
		return lost
	}
	return err
}

// safely calls f, which touches the file's memory. The error tells what of it is missing.
func (o *Observer) safely(f func()) error {
	lost := o.file.Safely(f)
	if lost == nil {
		return nil
	}
	if err := o.file.Check(); errors.Is(err, ErrTruncated) {
		return err // with the numbers
	}
	return lost
}

// Info describes the observer and its ring.
func (o *Observer) Info() ObserverInfo { return o.info }

// Stats returns what was counted so far, also after Close.
func (o *Observer) Stats() ObserverStats {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stats()
}

func (o *Observer) stats() ObserverStats { return ObserverStats(o.ring.Stats()) }

// TryNext returns the next message, or [ErrEmpty] if there is none at present. It does not wait. Errors:
// those of Next but a *ContextError.
func (o *Observer) TryNext() (Observed, error) {
	m, _, err := o.try(false)
	return m, err
}

// TryLatest returns the newest message that is there, unless it was returned before: then [ErrEmpty]. It passes over
// those before it; Observed.Missed counts them too. In a stream that is too fast to see its end it is
// one that was the newest a moment ago. It does not wait. Errors: those of TryNext.
func (o *Observer) TryLatest() (Observed, error) {
	m, _, err := o.try(true)
	return m, err
}

// Latest is TryLatest that waits for a message that is newer than the one before. Errors: those of Next.
func (o *Observer) Latest(ctx context.Context) (Observed, error) { return o.await(ctx, true) }

// Next returns the next message, and waits for one. A ctx that is done ends a loop over Next after at most 64
// messages. What is left of a ring is returned before the error that says that it has come to an end, except when
// its memory is gone. Errors: a [*ContextError]; [ErrClosed], also when Close is called meanwhile;
// [ErrOrphaned] within a tenth of a second when the ring was removed, or another has got its name
// ([Resize]): open another Observer; a [*CorruptError]; a [*TruncatedError].
func (o *Observer) Next(ctx context.Context) (Observed, error) { return o.await(ctx, false) }

// await is Next, or Latest.
func (o *Observer) await(ctx context.Context, newest bool) (Observed, error) {
	var w nap
	for {
		if newest || !o.held() {
			if err := contextEnded(ctx, o.name, "observe"); err != nil {
				return Observed{}, err
			}
		}
		m, moved, err := o.try(newest)
		if err != ErrEmpty {
			return m, err
		}
		if moved {
			w.looks = 0
			continue
		}
		w.rest(ctx, o.done, o.nap)
	}
}

// held tells whether the next message was copied already.
func (o *Observer) held() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.closed && o.ring.Held()
}

// try is TryNext, or TryLatest. moved tells whether the observer has seen anything new.
func (o *Observer) try(newest bool) (m Observed, moved bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return m, false, ErrClosed
	}
	got, moved, err := o.look(newest)
	if err == ErrEmpty && !moved && time.Since(o.asked) > askFileEvery {
		o.asked = time.Now()
		if gone := o.file.Check(); gone != nil {
			// What came between the look at the ring and that at the file is there now.
			if got, moved, err = o.look(newest); err == ErrEmpty {
				err = named(o.name, gone)
			}
		}
	}
	if err != nil {
		return m, moved, err
	}
	return Observed{Position(got.Position), got.Kind, got.Producer, got.Bytes, got.Sequence, got.Missed}, moved, nil
}

// look is one look at the ring.
func (o *Observer) look(newest bool) (m ring.Observation, moved bool, err error) {
	if o.failed != nil {
		return m, false, o.failed
	}
	take := o.ring.Try
	switch {
	case newest:
		take = o.ring.TryLatest
	case o.ring.Held(): // of which the copies are our own
		return take()
	}
	if lost := o.safely(func() { m, moved, err = take() }); lost != nil {
		err = lost
	}
	if err != nil && err != ErrEmpty {
		err = named(o.name, err)
		o.failed = err
	}
	return m, moved, err
}

// Close lets go of the ring. Calls that wait and all later ones return [ErrClosed]. It may be called
// again. It returns nil.
func (o *Observer) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed = true
		close(o.done)
		o.file.Close()
	}
	return nil
}

// nap is how one rests who looks again and again for what nobody tells it.
type nap struct {
	looks int
	timer *time.Timer
}

// rest returns at once the first few times, and then after a while, which grows to most.
func (w *nap) rest(ctx context.Context, done <-chan struct{}, most time.Duration) {
	if w.looks++; w.looks <= looksAtOnce {
		return
	}
	d := min(most, firstNap<<min(w.looks-looksAtOnce-1, int(math.Log2(float64(mostMaxNap/firstNap)))+1))
	if w.timer == nil {
		w.timer = time.NewTimer(d)
	} else {
		w.timer.Reset(d)
	}
	select {
	case <-w.timer.C:
	case <-done:
		w.timer.Stop()
	case <-ctx.Done():
		w.timer.Stop()
	}
}
