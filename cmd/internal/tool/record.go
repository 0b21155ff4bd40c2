package tool

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/recording"
)

const recordHelp = `Usage: shmring record [flags] NAME FILE

Writes the messages of a ring that is in use to a file, as they are sent: their bytes,
their kind, when they were seen, and how many are missing right before each, because this
process was too slow. It takes no part in the ring, as tap does. It goes on when streams
end, until the ring is removed (code 1), a signal comes (code 0) or a limit is reached.

Whatever kills it, the file can be read to its last whole message. With -append the next
one cuts off what is torn, and goes on behind the last message that was recorded: what
was overwritten since then is counted as missed. shmring replay sends it all again.

With -rotate-size the file is renamed when it has that size, to FILE.000001 and so on, and
a new one is begun.
`

const recordFlags = observeFlags + `  -append    go on with FILE, if it is there, where it ends; else begin it -from.
             Without -append a FILE that is there is an error
  -rotate-size BYTES
             begin a new file when one would get larger, as 64M
  -keep N    remove the oldest when there are more than N that were renamed
  -sync      have the system write to its disk what there is, before waiting for more
  -count N   end after so many messages
  -for DURATION
             end after so long
`

// recorder is what record does.
type recorder struct {
	follower
	out    output
	add    bool // to what is there
	sync   bool
	rotate int
	limits recording.Limits

	w        *recording.Writer
	unsynced bool
}

// recorded is what it says at the end.
type recorded struct {
	Ring     string `json:"ring"`
	File     string `json:"file"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	Missed   uint64 `json:"missed"`
	Inexact  bool   `json:"inexact,omitempty"` // there were more than Missed
	Rotated  int    `json:"rotated"`
	End      string `json:"end"`             // "signal", the flag that ended it, or "error"
	Error    string `json:"error,omitempty"` // and then
	ExitCode int    `json:"exit_code"`
}

func record(f *cli.Flags) observing {
	r := &recorder{}
	r.register(f)
	r.follower.limits(f)
	f.Bool(&r.add, "append")
	f.Bytes(&r.rotate, "rotate-size")
	cli.Int(f, &r.limits.Keep, "keep")
	f.Bool(&r.sync, "sync")
	return func(ctx context.Context, args []string, o *shmring.AdminOptions, out output) error {
		r.out = out
		switch {
		case f.IsSet("rotate-size") && r.rotate < 1:
			return cli.Usagef("-rotate-size %d: want 1 or more bytes", r.rotate)
		case f.IsSet("keep") && (r.limits.Keep < 1 || r.rotate == 0):
			return cli.Usagef("-keep %d: want 1 or more, and -rotate-size", r.limits.Keep)
		}
		r.limits.Size = int64(r.rotate)
		if err := r.open(ctx, args[0], o); err != nil {
			return notBegun(err)
		}
		defer func() { r.in.Close() }()
		if err := r.begin(ctx, args[1], o); err != nil {
			return err
		}
		return r.run(ctx, args[1])
	}
}

// begin opens the file, and goes on where it ends.
func (r *recorder) begin(ctx context.Context, path string, o *shmring.AdminOptions) (err error) {
	info := r.in.Info()
	h := recording.Header{Ring: info.Name, UUID: hex.EncodeToString(info.UUID[:]), Kind: info.Kind.String(),
		Slots: info.Geometry.Slots, SlotSize: info.Geometry.SlotSize, MaxMessage: info.Geometry.MaxMessage}
	if !r.add {
		r.w, err = recording.Create(path, h, r.limits)
		return err
	}
	var last *recording.Entry
	if r.w, last, err = recording.Append(path, h, r.limits); err != nil || last == nil {
		return err
	}
	after := shmring.Observed{Position: last.Position, Sequence: last.Sequence}
	r.options.From = shmring.FromAfter(after)
	before := r.in
	err = r.open(ctx, r.name, o)
	if errors.Is(err, shmring.ErrNoMessage) {
		r.out.notice("%v: beginning with the oldest message", err)
		r.options.From = shmring.FromOldest
		err = r.open(ctx, r.name, o)
	}
	if err != nil {
		r.in = before
		return errors.Join(err, r.w.Close(recording.End{Time: time.Now(), Reason: cli.Oneline(err)}))
	}
	return before.Close()
}

// run records until something ends it, and says what.
func (r *recorder) run(ctx context.Context, path string) error {
	why, err := r.follow(ctx, r.out, r.take, r.flush)
	reason := why
	if err != nil {
		why, reason = "error", cli.Oneline(err)
	}
	err = errors.Join(err, r.w.Close(recording.End{Time: time.Now(), Reason: reason}))
	s := r.in.Stats()
	sum := recorded{Ring: r.name, File: path, Messages: r.w.Messages, Bytes: r.w.Bytes, Missed: s.Missed,
		Inexact: s.Inexact, Rotated: r.w.Rotated, End: why, ExitCode: cli.Code(err)}
	text := path + ": "
	if sum.Messages < s.Messages {
		text += fmt.Sprintf("%d messages recorded of ", sum.Messages)
	}
	if err != nil {
		sum.Error = cli.Oneline(err)
	}
	return r.out.finish(sum, text+r.sum(), err)
}

func (r *recorder) take(m shmring.Observed) error {
	r.unsynced = true
	return r.w.Write(recording.Entry{Time: time.Now(), Position: m.Position, Kind: m.Kind, Sequence: m.Sequence,
		Missed: m.Missed, Bytes: m.Bytes})
}

// flush writes what there is, because nothing more comes for the moment.
func (r *recorder) flush() error {
	err := r.w.Flush()
	if err == nil && r.sync && r.unsynced {
		err = r.w.Sync()
	}
	r.unsynced = false
	return err
}
