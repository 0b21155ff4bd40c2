package tool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/recording"
)

const replayHelp = `Usage: shmring replay [flags] FILE NAME

Sends what shmring record has written to FILE into a ring, as its producer: the same bytes
and kinds in the same order. Of a recording that was rotated all files that are there are
sent, the oldest first; the name of one of them sends that one. A ring that is not there
is created as the one was that was recorded.

A file whose writer was killed may end in the middle of a message: what is whole is sent,
and that is no error. A file that is damaged ends with code 4, and the stream as one that
is not the whole, when all before that was sent.
`

const replayFlags = `  -speed full|recorded|FACTOR
             as fast as the ring takes it (default), with the pauses that were
             recorded, or with those divided by a factor, as 2 or 0.5
  -count N   end after so many messages
  -timeout DURATION
             end with code 5 when there is no room for so long
  -no-end    leave the stream open for the next producer
`

// replayer is what replay does.
type replayer struct {
	factor  float64 // 0: do not wait
	count   int64
	timeout time.Duration
	noEnd   bool

	p    *shmring.Producer
	rec  *recording.Recording
	done replayed
}

// replayed is what it says at the end.
type replayed struct {
	File     string `json:"file"`
	Ring     string `json:"ring"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	Missed   uint64 `json:"missed"` // that are not in the recording
	Torn     int64  `json:"torn_bytes"`
	// Recorded is why the recording ends; empty: whoever wrote it was killed, or is still at it.
	Recorded string  `json:"recorded"`
	Seconds  float64 `json:"seconds"`
	End      string  `json:"end"` // "file", "signal", "-count" or "error"
	Error    string  `json:"error,omitempty"`
	ExitCode int     `json:"exit_code"`
}

func replay(f *cli.Flags) observing {
	r := &replayer{}
	f.Func("speed", r.setSpeed)
	cli.Int(f, &r.count, "count")
	f.Duration(&r.timeout, "timeout")
	f.Bool(&r.noEnd, "no-end")
	return func(ctx context.Context, args []string, o *shmring.AdminOptions, out output) error {
		switch {
		case r.count < 0:
			return cli.Usagef("-count %d: want 1 or more; without -count all messages are sent", r.count)
		case r.timeout < 0:
			return cli.Usagef("-timeout %v: want a positive duration like 5s", r.timeout)
		}
		r.done = replayed{File: args[0], Ring: args[1]}
		var err error
		if r.rec, err = recording.Open(args[0]); err != nil {
			return err
		}
		defer r.rec.Close()
		if err = r.open(ctx, args[1], o); err != nil {
			return err
		}
		return r.run(ctx, out)
	}
}

func (r *replayer) setSpeed(text string) (err error) {
	switch text {
	case "full":
		r.factor = 0
		return nil
	case "recorded":
		r.factor = 1
		return nil
	}
	r.factor, err = strconv.ParseFloat(text, 64)
	if err != nil || !(r.factor > 0 && r.factor < 1e9) {
		return errors.New("want full, recorded or a factor like 2 or 0.5")
	}
	return nil
}

// open takes the ring as it is, or makes one like that which was recorded.
func (r *replayer) open(ctx context.Context, name string, o *shmring.AdminOptions) (err error) {
	ro := &shmring.Options{Dir: o.Dir, AnyOwner: o.AnyOwner, Mode: shmring.ModeOpenOnly, KeepStream: true}
	r.p, err = shmring.OpenProducer(ctx, name, ro)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	h := r.rec.Header
	ro.Mode, ro.Slots, ro.SlotSize, ro.MaxMessage = shmring.ModeOpenOrCreate, h.Slots, h.SlotSize, h.MaxMessage
	if h.SlotSize == 0 {
		ro.SlotSize = shmring.NoPayload
	}
	if h.Kind == shmring.KindMPSC.String() {
		ro.Kind = shmring.KindMPSC
	}
	r.p, err = shmring.OpenProducer(ctx, name, ro)
	return err
}

// run sends everything, and ends the stream.
func (r *replayer) run(ctx context.Context, out output) error {
	begin := time.Now()
	why, err := r.sendAll(ctx)
	if errors.Is(err, cli.ErrInterrupted) {
		why, err = "signal", nil
	}
	r.done.Seconds = time.Since(begin).Seconds()
	whole := err == nil && why != "signal"
	switch {
	case r.noEnd:
	case whole:
		err = r.p.CloseSend()
	default:
		err = errors.Join(err, r.p.FailSend())
	}
	err = errors.Join(err, r.p.Close())
	d := &r.done
	d.End, d.ExitCode, d.Torn = why, cli.Code(err), r.rec.Torn()
	if end := r.rec.End(); end != nil {
		d.Recorded = end.Reason
		d.Missed += end.Missed
	}
	if err != nil {
		d.End, d.Error = "error", cli.Oneline(err)
	}
	return out.finish(*d, d.tell(), err)
}

func (d *replayed) tell() string {
	t := cli.Totals{Messages: d.Messages, Bytes: d.Bytes}
	t.Took(time.Duration(d.Seconds * float64(time.Second)))
	text := t.String()
	if d.Missed > 0 {
		text += fmt.Sprintf("; %d were missed when it was recorded", d.Missed)
	}
	if d.Torn > 0 {
		text += fmt.Sprintf("; %d bytes of a message that is not whole were left out", d.Torn)
	}
	if d.End == "file" && d.Recorded == "" {
		text += "; whoever recorded it was killed, or is still at it"
	}
	return text
}

// sendAll sends what is recorded. why says what ended it, if that was no error.
func (r *replayer) sendAll(ctx context.Context) (why string, err error) {
	pace := &pace{factor: r.factor}
	for n := int64(0); r.count == 0 || n < r.count; n++ {
		e, err := r.rec.Next()
		if err == io.EOF {
			return "file", nil
		}
		if err == nil {
			err = pace.wait(ctx, e.Time)
		}
		if err == nil {
			err = r.send(ctx, e)
		}
		if err != nil {
			return "", err
		}
		r.done.Messages++
		r.done.Bytes += uint64(len(e.Bytes))
		r.done.Missed += e.Missed
	}
	return "-count", nil
}

func (r *replayer) send(ctx context.Context, e recording.Entry) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := r.p.TrySendKind(e.Bytes, e.Kind)
	for err == shmring.ErrContended {
		err = r.p.TrySendKind(e.Bytes, e.Kind)
	}
	switch {
	case err == shmring.ErrFull:
		if r.timeout > 0 {
			limited, cancel := context.WithTimeoutCause(ctx, r.timeout, cli.ErrTimeout)
			defer cancel()
			ctx = limited
		}
		err = r.p.SendKind(ctx, e.Bytes, e.Kind)
		if errors.Is(err, cli.ErrTimeout) {
			err = fmt.Errorf("the ring was full for all of -timeout: %w: is a consumer running, and does it keep up?", err)
		}
	case errors.Is(err, shmring.ErrTooLarge):
		err = fmt.Errorf("message %d of the recording: %w; replay it into a ring with a larger -max-message, "+
			"or into a new one", r.done.Messages+1, err)
	}
	return err
}

// pace waits as long as was waited when messages were recorded.
type pace struct {
	factor float64   // faster; 0: not at all
	first  time.Time // of the recording, and
	begin  time.Time // when that was sent
}

func (p *pace) wait(ctx context.Context, recorded time.Time) error {
	if p.factor == 0 {
		return nil
	}
	if p.begin.IsZero() {
		p.first, p.begin = recorded, time.Now()
	}
	left := time.Until(p.begin.Add(time.Duration(float64(recorded.Sub(p.first)) / p.factor)))
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
