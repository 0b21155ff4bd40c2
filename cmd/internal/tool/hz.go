package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

const hzHelp = `Usage: shmring hz [flags] NAME

Measures the messages of a ring that is in use, as they are sent, and prints a line in
each second: how many came, how large they were, and how long was between them. It takes
no part, as tap does. What it missed, because it was too slow, is counted in the rate and
not in the sizes and gaps. A gap is what lies between two messages as this process sees
them; it looks every 20 µs to 1 ms when nothing comes, and shorter gaps are 0.
`

const hzFlags = observeFlags + `  -every DURATION
             how long a line is about (default 1s)
  -count N   end after so many lines
`

// frequency are what hz says of an interval.
type frequency struct {
	Seconds  float64 `json:"seconds"`
	Messages uint64  `json:"messages"`
	Missed   uint64  `json:"missed"`
	Bytes    uint64  `json:"bytes"`
	Rate     float64 `json:"messages_per_second"` // those that were missed too
	ByteRate float64 `json:"bytes_per_second"`
	Size     spread  `json:"size"`
	Gap      spread  `json:"gap_seconds"`
}

// spread sums up numbers. All are 0 if there were none.
type spread struct {
	Min       float64 `json:"min"`
	Mean      float64 `json:"mean"`
	Max       float64 `json:"max"`
	Deviation float64 `json:"deviation"` // the standard deviation

	n, squares float64 // Welford's sums
}

func (s *spread) add(x float64) {
	if s.n == 0 || x < s.Min {
		s.Min = x
	}
	s.Max = max(s.Max, x)
	s.n++
	d := x - s.Mean
	s.Mean += d / s.n
	s.squares += d * (x - s.Mean)
	s.Deviation = math.Sqrt(s.squares / s.n)
}

// hz is what hz does.
func hz(f *cli.Flags) observing {
	w := &follower{}
	w.register(f)
	every, count := time.Second, 0
	f.Duration(&every, "every")
	cli.Int(f, &count, "count")
	return func(ctx context.Context, args []string, o *shmring.AdminOptions, out output) error {
		if every <= 0 {
			return cli.Usagef("-every %v: want a positive duration like 1s", every)
		}
		if count < 0 {
			return cli.Usagef("-count %d: want 1 or more", count)
		}
		if err := w.open(ctx, args[0], o); err != nil {
			return notBegun(err)
		}
		defer w.in.Close()
		m := &meter{in: w.in}
		for n := 0; count == 0 || n < count; n++ {
			r, err := m.measure(ctx, every)
			if errors.Is(err, cli.ErrInterrupted) {
				return nil
			}
			if err != nil {
				return err
			}
			if out.asJSON {
				err = json.NewEncoder(out.stdout).Encode(r)
			} else {
				_, err = fmt.Fprintln(out.stdout, r.tell())
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// meter measures interval after interval.
type meter struct {
	in   *shmring.Observer
	last time.Time // when the last message came
}

// errInterval is the cause of a context that ends with its interval.
var errInterval = errors.New("the interval is over")

func (h *meter) measure(ctx context.Context, every time.Duration) (r frequency, err error) {
	interval, cancel := context.WithTimeoutCause(ctx, every, errInterval)
	defer cancel()
	begin := time.Now()
	for {
		m, err := h.in.Next(interval)
		now := time.Now()
		if errors.Is(err, errInterval) {
			r.Seconds = now.Sub(begin).Seconds()
			r.Rate = float64(r.Messages+r.Missed) / r.Seconds
			r.ByteRate = float64(r.Bytes) / r.Seconds
			return r, nil
		}
		if err != nil {
			return r, damage(err)
		}
		r.Messages++
		r.Missed += m.Missed
		r.Bytes += uint64(len(m.Bytes))
		r.Size.add(float64(len(m.Bytes)))
		if !h.last.IsZero() && m.Missed == 0 {
			r.Gap.add(now.Sub(h.last).Seconds())
		}
		h.last = now
	}
}

func (r *frequency) tell() string {
	text := fmt.Sprintf("%s messages/s, %s/s", cli.Short(r.Rate), cli.Size(r.ByteRate))
	if r.Messages > 0 {
		text += fmt.Sprintf("; %.0f to %.0f bytes, %.1f on average", r.Size.Min, r.Size.Max, r.Size.Mean)
	}
	if r.Gap.n > 0 {
		text += fmt.Sprintf("; gaps %s to %s, %s on average, deviation %s", gap(r.Gap.Min), gap(r.Gap.Max), gap(r.Gap.Mean),
			gap(r.Gap.Deviation))
	}
	if r.Missed > 0 {
		text += fmt.Sprintf("; missed %d", r.Missed)
	}
	return text
}

// gap is a number of seconds as people read it.
func gap(seconds float64) string { return cli.Nanos(int64(seconds * 1e9)) }
