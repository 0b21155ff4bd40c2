package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/shm"
)

const topHelp = `Usage: shmring top [flags] [DIR]

Shows the rings of a directory again and again: how full each is and was, how many slots
are sent and released in a second, how many sends meet a full ring, how often its consumer
goes to sleep, for how long nothing has moved that should (STILL), who is attached, and what
is the matter. On a terminal it takes the screen: q ends it, ctrl-z stops it, arrows show
more; $NO_COLOR is heeded. Elsewhere it prints one table after the other. Like ls and inspect
it is felt by nobody.
`

const topFlags = `  -for DURATION
             how long between looks (default 1s)
  -count N   end after so many looks
`

// pastLooks is how many looks back the line of how full a ring was goes.
const pastLooks = 24

// topRing is a ring as top remembers it.
type topRing struct {
	name   string
	in     *shmring.Inspector
	last   shmring.Snapshot
	past   []float64 // how full it was, the newest last
	rates  *rates    // nil: it was seen once
	unseen bool
}

// rates are what has happened in a second between two looks.
type rates struct {
	Sent     float64 `json:"sent_slots_per_s"`
	Released float64 `json:"released_slots_per_s"`
	Full     float64 `json:"full_sends_per_s"` // that met a full ring
	Sleeps   float64 `json:"consumer_sleeps_per_s"`
}

// ratesOf compares two looks at one and the same ring.
func ratesOf(a, b shmring.Snapshot) *rates {
	if a.Ring == nil || b.Ring == nil || a.File.UUID != b.File.UUID || !b.Time.After(a.Time) {
		return nil
	}
	s := b.Time.Sub(a.Time).Seconds()
	per := func(from, to uint64) float64 { return float64(max(int64(to-from), 0)) / s }
	slot := float64(b.Ring.Queue.Lap) / float64(b.Ring.Geometry.Slots) // in positions
	return &rates{
		Sent:     per(a.Ring.Queue.End.Record, b.Ring.Queue.End.Record) / slot,
		Released: per(a.Ring.Queue.ReadPos.Record, b.Ring.Queue.ReadPos.Record) / slot,
		Full:     per(a.Ring.Produced.Full, b.Ring.Produced.Full),
		Sleeps:   per(a.Ring.Consumed.Sleeps, b.Ring.Consumed.Sleeps),
	}
}

// top is what it has seen.
type top struct {
	dir   string
	rings []*topRing
}

// look looks at all rings.
func (p *top) look() error {
	found, err := shm.Segments(p.dir)
	if err != nil {
		return err
	}
	known := map[string]*topRing{}
	for _, r := range p.rings {
		known[r.name] = r
	}
	p.rings = nil
	for _, f := range found {
		r := known[f.Name]
		if r == nil {
			in, err := shmring.NewInspector(f.Name, &shmring.InspectOptions{Dir: p.dir})
			if err != nil {
				return err
			}
			r = &topRing{name: f.Name, in: in, unseen: true}
		}
		switch err := r.look(); {
		case err == nil:
			p.rings = append(p.rings, r)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

func (r *topRing) look() error {
	s, err := r.in.Look()
	if err != nil {
		return err
	}
	r.rates = nil
	if !r.unseen {
		r.rates = ratesOf(r.last, s)
	}
	r.last, r.unseen = s, false
	full := 0.0
	if s.Ring != nil {
		full = s.Ring.Queue.Fraction
	}
	if r.past = append(r.past, full); len(r.past) > pastLooks {
		r.past = r.past[1:]
	}
	return nil
}

var bars = []rune(" ▁▂▃▄▅▆▇█")

// sparkline draws how full a ring was. Anything above nothing is seen.
func sparkline(past []float64) string {
	line := []rune(strings.Repeat(" ", pastLooks-len(past)))
	for _, f := range past {
		i := int(f * float64(len(bars)-1))
		if f > 0 {
			i = max(i, 1)
		}
		line = append(line, bars[min(max(i, 0), len(bars)-1)])
	}
	return string(line)
}

// text is the table of all rings, below two lines of headings.
func (p *top) text(now time.Time, colours bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "shmring top  %s  %s  %d rings\n", now.Format("15:04:05"), where(p.dir), len(p.rings))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "NAME\tFULL\t%-*s\tMESSAGES\tSENT/s\tRELEASED/s\tFULL/s\tSLEEPS/s\tSTILL\tCONSUMER\tPRODUCERS\t"+
		"VERDICT\n",
		pastLooks, "BEFORE")
	for _, r := range p.rings {
		c := cellsOf(r.last)
		sent, released, full, sleeps := "-", "-", "-", "-"
		if v := r.rates; v != nil {
			sent, released, full, sleeps = cli.Short(v.Sent), cli.Short(v.Released), cli.Short(v.Full), cli.Short(v.Sleeps)
		}
		if colours {
			c.verdict = coloured(r.last.Verdicts[0].Severity, c.verdict)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.name, c.full, sparkline(r.past), c.messages,
			sent, released, full, sleeps, tellStill(r.last), c.consumer, c.producers, c.verdict)
	}
	_ = w.Flush() // into memory
	return b.String()
}

// tellStill says for how long something that should move has not: a consumer that releases nothing though
// messages wait, or a claim that stays open.
func tellStill(s shmring.Snapshot) string {
	if s.Ring == nil {
		return "-"
	}
	still := s.Ring.Queue.StillFor
	for _, c := range s.Ring.Claims {
		still = max(still, c.OpenFor)
	}
	if still < time.Second {
		return "-"
	}
	return still.Round(time.Second).String()
}

// topReport is what -json prints of a ring at each look.
type topReport struct {
	shmring.Snapshot
	*rates
}

func (p *top) json() []topReport {
	list := []topReport{}
	for _, r := range p.rings {
		list = append(list, topReport{r.last, r.rates})
	}
	return list
}

// showTop is what top does.
func showTop(f *cli.Flags) streaming {
	every, count := time.Second, 0
	looks(f, &every)
	cli.Int(f, &count, "count")
	return func(ctx context.Context, args []string, admin *shmring.AdminOptions, asJSON bool, stdout io.Writer) error {
		p := &top{dir: admin.Dir}
		if err := takeDir(&p.dir, args); err != nil {
			return err
		}
		switch {
		case every <= 0:
			return cli.Usagef("-for %v: want a positive duration like 1s", every)
		case f.IsSet("count") && count <= 0:
			return cli.Usagef("-count %d: want 1 or more", count)
		}
		if !asJSON && cli.Terminal(stdout) {
			return p.runTerminal(ctx, every, count, stdout)
		}
		return p.run(ctx, every, count, asJSON, stdout)
	}
}

// run looks until ctx ends or count looks are done, and prints one table after the other.
func (p *top) run(ctx context.Context, every time.Duration, count int, asJSON bool, w io.Writer) error {
	for next := time.Now(); ; {
		if err := p.look(); err != nil {
			return err
		}
		text := p.text(time.Now(), false)
		if asJSON {
			line, err := json.Marshal(p.json())
			if err != nil {
				return err
			}
			text = string(line) + "\n"
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		if count--; count == 0 {
			return nil
		}
		if next = next.Add(every); next.Before(time.Now()) {
			next = time.Now()
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}
