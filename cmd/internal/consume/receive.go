package consume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

// receiver moves messages from the ring to the sink.
type receiver struct {
	*config
	c       *shmring.Consumer
	sink    sink
	totals  *cli.Totals
	target  *outputFile // of -o
	hangups <-chan struct{}

	awake    context.Context // ends when receiving does, and for target to be opened anew
	patience *cli.Patience   // with waits while awake
	still    *cli.Still
	disarm   func()

	taken int64
	begin time.Time // of the first message
	lost  error     // the first stream that died or failed, if others go on
}

var (
	// errDone ends receiving without being an error.
	errDone = errors.New("done")
	// errHangup ends a wait: the file of -o is to be opened anew.
	errHangup = errors.New("SIGHUP")
)

// arm lets waits be ended by ctx, and once by SIGHUP.
func (r *receiver) arm(ctx context.Context) {
	awake, cancel := context.WithCancelCause(ctx)
	patience := cli.NewPatience(awake, r.timeout)
	if r.hangups != nil {
		go func() {
			select {
			case <-r.hangups:
				cancel(errHangup)
			case <-awake.Done():
			}
		}()
	}
	r.awake, r.patience = awake, patience
	r.disarm = func() { patience.Close(); cancel(nil) }
}

// reopen opens the file of -o anew. All that was written before is in the one that was open, and
// so is what comes if that fails: a consumer that ended would be missed more.
func (r *receiver) reopen(ctx context.Context) error {
	r.disarm()
	r.arm(ctx)
	if err := r.sink.flush(); err != nil {
		return err
	}
	if err := r.target.reopen(); err != nil {
		r.out.Notice("SIGHUP: %v: the records still go to the file that was open", err)
		return nil
	}
	r.totals.Reopened++
	return nil
}

// receive ends with nil when the stream, -count or ctx does.
func (r *receiver) receive(ctx context.Context) error {
	r.arm(ctx)
	defer func() { r.disarm() }()
	for {
		m, err := r.c.TryNext()
		if err == shmring.ErrEmpty {
			if err := r.sink.flush(); err != nil {
				return err
			}
			m, err = r.wait()
		}
		if err == nil {
			err = r.take(m)
		} else {
			err = r.stopped(err)
		}
		if err == nil && r.awake.Err() != nil {
			if context.Cause(r.awake) == errHangup {
				err = r.reopen(ctx)
			} else {
				err = r.drain()
			}
		}
		if err == errDone {
			return r.sink.flush()
		}
		if err != nil {
			return err
		}
	}
}

// take hands a message to the sink.
func (r *receiver) take(m shmring.Message) error {
	if r.begin.IsZero() {
		r.begin = time.Now()
	}
	if err := r.sink.put(m); err != nil {
		return err
	}
	if r.taken++; r.taken == r.count {
		return errDone
	}
	return nil
}

// wait is Next, bounded by -timeout.
func (r *receiver) wait() (shmring.Message, error) {
	defer r.patience.End()
	r.still.Begin()
	defer r.still.End()
	return r.c.Next(r.patience.Begin())
}

// whyStill says why nothing comes, if that is because nobody is there to send. A stalled claim
// is told by OnStall.
func (r *receiver) whyStill() string {
	peers, err := r.c.Peers()
	if err != nil {
		return ""
	}
	for _, peer := range peers {
		if peer.Role == shmring.RoleProducer && peer.Alive && peer.Open {
			return "" // it has nothing to say
		}
	}
	return "the ring is empty and no producer is attached: waiting for one"
}

// stopped decides how to go on when there is no message: nil is to receive on.
func (r *receiver) stopped(err error) error {
	switch {
	case err == errDone:
		return err
	case err == io.EOF:
		if r.follow {
			return r.sink.flush()
		}
		if err := r.sink.flush(); err != nil || r.lost != nil && r.many() {
			return errors.Join(err, r.lost) // what came is not the whole
		}
		return errDone
	case errors.Is(err, shmring.ErrPeerDead), errors.Is(err, shmring.ErrFailed):
		return r.bereft(err)
	case errors.Is(err, errHangup):
		return nil // receive sees to it
	case errors.Is(err, cli.ErrInterrupted):
		return r.drain()
	case errors.Is(err, cli.ErrTimeout):
		return fmt.Errorf("nothing arrived for %v: %w: is a producer running?", r.timeout, cli.ErrTimeout)
	}
	return errors.Join(err, r.sink.flush())
}

// many tells whether io.EOF says that streams are over, and not that one was ended well.
func (r *receiver) many() bool { return r.c.Info().Kind == shmring.KindMPSC || r.producers > 0 }

// bereft decides how to go on behind a stream that died or failed.
func (r *receiver) bereft(err error) error {
	if r.lost == nil {
		r.lost = err
	}
	died := errors.Is(err, shmring.ErrPeerDead)
	if e := r.sink.flush(); e != nil || died && r.onDeath == exit || !died && !r.many() && !r.follow {
		return errors.Join(e, err)
	}
	switch {
	case r.many():
		r.out.Notice("%s: waiting for others, who may go on or come (-on-death exit does not)", cli.Oneline(err))
	case died:
		r.out.Notice("%s: waiting for its successor (-on-death exit does not)", cli.Oneline(err))
	default:
		r.out.Notice("%s: waiting for the next stream (-follow)", cli.Oneline(err))
	}
	return nil
}

// drain takes what is in the ring now and no more: producers that keep sending do not
// keep an interrupted consumer.
func (r *receiver) drain() error {
	if err := r.sink.flush(); err != nil {
		return err
	}
	peers, err := r.c.Peers()
	if err != nil {
		return err
	}
	var end []shmring.Position // what was sent is before them; without producers it is all there is
	for _, p := range peers {
		if p.Role == shmring.RoleProducer {
			end = append(end, p.Position)
		}
	}
	behind := func(m *shmring.Message) bool {
		return len(end) > 0 && !slices.ContainsFunc(end, func(p shmring.Position) bool { return m.Position().Compare(p) < 0 })
	}
	for {
		m, err := r.c.TryNext()
		if err != nil {
			return errDone // empty, or an end that does not matter any more
		}
		if behind(&m) {
			return errDone // not put, so it stays in the ring
		}
		if err := r.take(m); err != nil {
			return err
		}
	}
}
