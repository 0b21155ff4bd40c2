package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

// observeFlags are those of the commands that follow the messages of a ring.
const observeFlags = `  -from now|oldest|POSITION
             where to begin: with what is sent from now on (default), with the
             oldest message that the consumer has not released, or with that
             at POSITION
  -kind KIND[,KIND...]
             only messages of these kinds, numbers from 0 to 65535
  -wait      wait for the ring to be created
`

// observing is an action that follows a ring, and says more than its output is for.
type observing func(ctx context.Context, args []string, o *shmring.AdminOptions, out output) error

// output is where it goes.
type output struct {
	asJSON         bool
	stdout, stderr io.Writer
	name           string // of the command
}

// notice says something beside the output, unless that is for programs.
func (o *output) notice(format string, args ...any) {
	if !o.asJSON {
		fmt.Fprintf(o.stderr, "shmring "+o.name+": "+format+"\n", args...)
	}
}

// finish says at the end what was done: for programs an object, in which an error is told too.
func (o *output) finish(report any, text string, err error) error {
	var printed error
	if o.asJSON {
		printed = json.NewEncoder(o.stdout).Encode(report)
		if err != nil {
			return &told{err}
		}
	} else {
		_, printed = fmt.Fprintln(o.stdout, text)
	}
	return errors.Join(err, printed)
}

// follower follows the messages of a ring, and says what it has seen.
type follower struct {
	options shmring.ObserverOptions
	count   int64         // messages; 0: no limit
	lasting time.Duration // 0: no limit

	name, dir string // of the ring that was opened
	in        *shmring.Observer
}

// register adds the flags.
func (w *follower) register(f *cli.Flags) {
	f.Func("from", w.setFrom)
	f.Func("kind", w.setKinds)
	f.Bool(&w.options.Wait, "wait")
}

// limits adds the flags that say when to end.
func (w *follower) limits(f *cli.Flags) {
	cli.Int(f, &w.count, "count")
	f.Duration(&w.lasting, "for")
}

func (w *follower) setFrom(text string) error {
	switch text {
	case "now":
		w.options.From = shmring.FromNow
		return nil
	case "oldest":
		w.options.From = shmring.FromOldest
		return nil
	}
	p, err := shmring.ParsePosition(text)
	if err != nil {
		return errors.New("want now, oldest or a position like 4096")
	}
	w.options.From = shmring.FromPosition(p)
	return nil
}

func (w *follower) setKinds(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseUint(word, 10, 16)
		if err != nil {
			return errors.New("want numbers from 0 to 65535, with commas between them")
		}
		w.options.Kinds = append(w.options.Kinds, uint16(n))
	}
	return nil
}

// open begins to observe.
func (w *follower) open(ctx context.Context, name string, o *shmring.AdminOptions) (err error) {
	switch {
	case w.count < 0:
		return cli.Usagef("-count %d: want 1 or more; without it nothing but a signal, or -for, ends this", w.count)
	case w.lasting < 0:
		return cli.Usagef("-for %v: want a positive duration like 10s", w.lasting)
	}
	w.options.Dir, w.options.AnyOwner = o.Dir, o.AnyOwner
	w.name, w.dir = name, o.Dir
	w.in, err = shmring.OpenObserver(ctx, name, &w.options)
	if errors.Is(err, cli.ErrInterrupted) {
		return errNotBegun
	}
	return damage(err)
}

// damage makes the error of what is no ring, or a damaged one, have the exit code for that.
func damage(err error) error {
	if errors.Is(err, shmring.ErrFormat) || errors.Is(err, shmring.ErrTruncated) {
		return corrupt{err}
	}
	return err
}

// errNotBegun: a signal ended the wait for the ring, which is no failure.
var errNotBegun = errors.New("interrupted")

// errLasted is the cause of a context that -for has ended.
var errLasted = errors.New("the time is over")

// follow calls take for each message until a limit, a signal or an error ends it, and idle before it waits for the
// next one. why says what ended it, if that was no error.
func (w *follower) follow(ctx context.Context, out output, take func(shmring.Observed) error, idle func() error) (
	why string, err error) {
	if w.lasting > 0 {
		limited, cancel := context.WithTimeoutCause(ctx, w.lasting, errLasted)
		defer cancel()
		ctx = limited
	}
	quiet := &stillness{w: w, out: out}
	for n := int64(0); w.count == 0 || n < w.count; n++ {
		m, err := w.in.TryNext()
		if err == shmring.ErrEmpty {
			if err := idle(); err != nil {
				return "", err
			}
			m, err = quiet.next(ctx)
		}
		if err == nil && n%64 == 63 && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		switch {
		case err == nil:
			if err := take(m); err != nil {
				return "", err
			}
		case errors.Is(err, errLasted):
			return "-for", idle()
		case errors.Is(err, cli.ErrInterrupted):
			return "signal", idle()
		default:
			return "", errors.Join(damage(err), idle())
		}
	}
	return "-count", idle()
}

// stillFor is how long nothing comes before it is said why.
const stillFor = time.Second

// stillness says once why no message comes, until one does.
type stillness struct {
	w   *follower
	out output
}

func (s *stillness) next(ctx context.Context) (shmring.Observed, error) {
	if s.out.asJSON {
		return s.w.in.Next(ctx)
	}
	first, cancel := context.WithTimeoutCause(ctx, stillFor, errStill)
	m, err := s.w.in.Next(first)
	cancel()
	if !errors.Is(err, errStill) {
		return m, err
	}
	look, err := shmring.Inspect(ctx, s.w.name, &shmring.InspectOptions{Dir: s.w.dir})
	if err == nil {
		v := look.Verdicts[0]
		s.out.notice("no message for %v; the ring is %s: %s", stillFor, v.Code, v.Text)
	}
	return s.w.in.Next(ctx)
}

var errStill = errors.New("nothing has come")

// sum tells what was seen.
func (w *follower) sum() string {
	s := w.in.Stats()
	text := fmt.Sprintf("%d messages, %s", s.Messages, cli.Size(float64(s.Bytes)))
	if s.Missed > 0 || s.Inexact {
		least := ""
		if s.Inexact {
			least = "at least "
		}
		text += fmt.Sprintf("; missed %s%d, overtaken %d times", least, s.Missed, s.Overtaken)
	}
	return text
}
