package consume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

// receiver moves messages from the ring to the sink.
type receiver struct {
	*config
	c        *shmring.Consumer
	sink     sink
	patience *cli.Patience
	roster   *roster // with -producers, of an MPSC ring

	taken int64
	begin time.Time // of the first message
	ends  int       // ends of the stream that were seen
	died  bool      // a producer did
}

// errDone ends receiving without being an error.
var errDone = errors.New("done")

// receive ends with nil when the stream, -count or ctx does.
func (r *receiver) receive(ctx context.Context) error {
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
		if err == nil && ctx.Err() != nil {
			err = r.drain()
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

// rosterEvery is how often the roster is called while the last producer may be about
// to leave: nothing rings for that.
const rosterEvery = 20 * time.Millisecond

// wait is Next, bounded by -timeout. It returns errDone when all -producers have gone.
func (r *receiver) wait() (shmring.Message, error) {
	ctx := r.patience.Begin()
	defer r.patience.End()
	if r.roster == nil || r.ends == 0 {
		return r.c.Next(ctx)
	}
	for {
		if r.roster.over(r.producers) {
			// What they sent before that was seen comes first.
			m, err := r.c.TryNext()
			if err == shmring.ErrEmpty {
				err = errDone
			}
			return m, err
		}
		short, cancel := context.WithTimeout(ctx, rosterEvery)
		m, err := r.c.Next(short)
		cancel()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return m, err
		}
	}
}

// stopped decides how to go on when there is no message: nil is to receive on.
func (r *receiver) stopped(err error) error {
	switch {
	case err == errDone:
		return err
	case err == io.EOF:
		r.ends++
		if r.follow || r.roster != nil || r.ends < r.producers {
			return r.sink.flush()
		}
		return errDone
	case errors.Is(err, shmring.ErrPeerDead):
		r.died = true
		if e := r.sink.flush(); e != nil || r.onDeath == exit {
			return errors.Join(e, err)
		}
		r.out.Notice("%s: waiting for its successor (-on-death exit does not)", cli.Oneline(err))
		return nil
	case errors.Is(err, cli.ErrInterrupted):
		return r.drain()
	case errors.Is(err, cli.ErrTimeout):
		return fmt.Errorf("nothing arrived for %v: %w: is a producer running?", r.timeout, cli.ErrTimeout)
	}
	return errors.Join(err, r.sink.flush())
}

// drain takes what is in the ring now and no more: producers that keep sending do not
// keep an interrupted consumer.
func (r *receiver) drain() error {
	if err := r.sink.flush(); err != nil {
		return err
	}
	slots := uint64(r.c.Used())
	var first shmring.Position
	for n := 0; ; n++ {
		m, err := r.c.TryNext()
		if err != nil {
			return errDone // empty, or an end that does not matter any more
		}
		if n == 0 {
			first = m.Position()
		}
		if m.Position().Record-first.Record >= slots {
			return errDone // not put, so it stays in the ring
		}
		if err := r.take(m); err != nil {
			return err
		}
	}
}
