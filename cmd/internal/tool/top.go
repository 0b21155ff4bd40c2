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
	"unicode/utf8"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/shm"
)

const topHelp = `Usage: shmring top [flags] [DIR]

Shows the rings of a directory again and again: how full each is and was, how many slots
are sent and released in a second, how often its consumer goes to sleep, who is attached,
and what is the matter. On a terminal it takes the screen, and q ends it; elsewhere it
prints one table after the other. Like ls and inspect it is felt by nobody.
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
	Sleeps   float64 `json:"consumer_sleeps_per_s"`
}

// ratesOf compares two looks at one and the same ring.
func ratesOf(a, b shmring.Snapshot) *rates {
	if a.Ring == nil || b.Ring == nil || a.File.UUID != b.File.UUID || !b.Time.After(a.Time) {
		return nil
	}
	s := b.Time.Sub(a.Time).Seconds()
	per := func(from, to uint64) float64 { return float64(max(int64(to-from), 0)) / s }
	return &rates{
		Sent:     per(a.Ring.Queue.End.Record, b.Ring.Queue.End.Record),
		Released: per(a.Ring.Queue.ReadPos.Record, b.Ring.Queue.ReadPos.Record),
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

// text is the table of all rings.
func (p *top) text(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "shmring top  %s  %s  %d rings\n", now.Format("15:04:05"), where(p.dir), len(p.rings))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "NAME\tFULL\t%-*s\tMESSAGES\tSENT/s\tRELEASED/s\tSLEEPS/s\tCONSUMER\tPRODUCERS\tVERDICT\n",
		pastLooks, "BEFORE")
	for _, r := range p.rings {
		c := cellsOf(r.last)
		sent, released, sleeps := "-", "-", "-"
		if r.rates != nil {
			sent, released, sleeps = cli.Short(r.rates.Sent), cli.Short(r.rates.Released), cli.Short(r.rates.Sleeps)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.name, c.full, sparkline(r.past), c.messages, sent,
			released, sleeps, c.consumer, c.producers, c.verdict)
	}
	_ = w.Flush() // into memory
	return b.String()
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

// frame cuts a text to a screen.
func frame(text string, width, height int) []string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	lines = lines[:min(len(lines), max(height, 1))]
	for i, l := range lines {
		if utf8.RuneCountInString(l) > width {
			lines[i] = string([]rune(l)[:max(width, 0)])
		}
	}
	return lines
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
		var s screen = &paper{w: stdout}
		if !asJSON && cli.Terminal(stdout) {
			var err error
			if s, err = takeScreen(stdout); err != nil {
				return err
			}
		}
		return errors.Join(p.run(ctx, every, count, asJSON, s), s.close())
	}
}

// run looks until ctx ends, the user wants no more, or count looks are done.
func (p *top) run(ctx context.Context, every time.Duration, count int, asJSON bool, s screen) error {
	for next := time.Now(); ; {
		if err := p.look(); err != nil {
			return err
		}
		text := p.text(time.Now())
		if asJSON {
			line, err := json.Marshal(p.json())
			if err != nil {
				return err
			}
			text = string(line) + "\n"
		}
		if err := s.show(text); err != nil {
			return err
		}
		if count--; count == 0 {
			return nil
		}
		if next = next.Add(every); next.Before(time.Now()) {
			next = time.Now()
		}
		if s.pause(ctx, time.Until(next)) {
			return nil
		}
	}
}

// screen is where top shows what it sees.
type screen interface {
	show(text string) error
	// pause waits, and reports whether the user wants no more.
	pause(ctx context.Context, d time.Duration) (enough bool)
	close() error
}

// paper is no terminal.
type paper struct{ w io.Writer }

func (p *paper) show(text string) error {
	_, err := io.WriteString(p.w, text)
	return err
}

func (p *paper) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return true
	case <-timer.C:
		return false
	}
}

func (p *paper) close() error { return nil }
