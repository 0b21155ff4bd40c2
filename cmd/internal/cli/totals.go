package cli

import (
	"fmt"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/load"
)

// Totals is what a run came to, as -json prints it.
type Totals struct {
	Program        string  `json:"program"`
	Ring           string  `json:"ring"`
	Messages       uint64  `json:"messages"`
	Bytes          uint64  `json:"bytes"` // of messages, without framing
	Seconds        float64 `json:"seconds"`
	PerSecond      float64 `json:"msgs_per_s"`
	Full           uint64  `json:"full"`
	Dropped        uint64  `json:"dropped"`
	LongLines      uint64  `json:"long_lines"` // split, cut or skipped
	Sleeps         uint64  `json:"sleeps"`
	Wakes          uint64  `json:"wakes"`
	Spins          uint64  `json:"spins"`
	Asleep         float64 `json:"asleep_seconds"`
	TimeoutWakeups uint64  `json:"timeout_wakeups"`
	Skipped        uint64  `json:"skipped"`
	Deaths         uint64  `json:"deaths"`
	Redelivered    uint64  `json:"redelivered"`
	Reopened       uint64  `json:"reopened"` // the file of -o, by SIGHUP
	Created        bool    `json:"created"`
	TookOver       bool    `json:"took_over"`
	Recovered      bool    `json:"recovered"`

	Verify *load.Report `json:"verify,omitempty"`

	Error    string `json:"error,omitempty"`
	ExitCode int    `json:"exit_code"`

	opened bool // there was a ring, so there is something to sum up
}

// Opened notes what opening the ring did and found.
func (t *Totals) Opened(i shmring.Info) {
	t.opened = true
	t.Created, t.TookOver, t.Recovered = i.Created, i.TookOver, i.Recovered
}

// Counted notes the counters of a handle that is still open. Messages and bytes are
// the program's own: the ring's may be behind.
func (t *Totals) Counted(s shmring.Stats) {
	t.Sleeps, t.Wakes, t.Spins, t.TimeoutWakeups = s.Sleeps, s.Wakes, s.Spins, s.TimeoutWakeups
	t.Asleep = s.Asleep.Seconds()
	t.Skipped, t.Deaths, t.Dropped = s.Skipped, s.Deaths, s.Dropped
}

// Took notes how long the run took.
func (t *Totals) Took(d time.Duration) {
	t.Seconds = d.Seconds()
	if d > 0 {
		t.PerSecond = float64(t.Messages) / t.Seconds
	}
}

// String is the summary for people.
func (t *Totals) String() string {
	s := fmt.Sprintf("%d messages, %s in %s (%s messages/s, %s/s)", t.Messages, Size(float64(t.Bytes)),
		time.Duration(t.Seconds*float64(time.Second)).Round(time.Millisecond),
		Short(t.PerSecond), Size(float64(t.Bytes)/max(t.Seconds, 1e-9)))
	for _, c := range []struct {
		n    uint64
		text string
	}{
		{t.Full, "met a full ring %d times"},
		{t.Dropped, "%d dropped"},
		{t.LongLines, "%d lines longer than its messages"},
		{t.Redelivered, "%d redelivered"},
		{t.Skipped, "%d unfinished claims of dead producers passed over"},
		{t.Deaths, "%d producers died"},
		{t.TimeoutWakeups, "%d lost wake-ups"},
	} {
		if c.n > 0 {
			s += ", " + fmt.Sprintf(c.text, c.n)
		}
	}
	if v := t.Verify; v != nil {
		s += fmt.Sprintf("; verified %d of %d streams", v.Verified, v.Streams)
	}
	return s
}

// Short writes a number with three or four digits and a prefix.
func Short(n float64) string {
	for _, unit := range []string{"", " k", " M"} {
		if n < 1000 {
			return fmt.Sprintf("%.4g%s", n, unit)
		}
		n /= 1000
	}
	return fmt.Sprintf("%.4g G", n)
}

// Size writes a number of bytes with a decimal prefix.
func Size(n float64) string {
	s := Short(n)
	if n < 1000 {
		s += " "
	}
	return s + "B"
}

// Nanos writes nanoseconds with a unit and three digits or so.
func Nanos(n int64) string {
	d := time.Duration(n)
	switch {
	case d >= 10*time.Millisecond:
		d = d.Round(100 * time.Microsecond)
	case d >= 100*time.Microsecond:
		d = d.Round(time.Microsecond)
	case d >= 10*time.Microsecond:
		d = d.Round(100 * time.Nanosecond)
	}
	return d.String()
}
