package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shmring/shmring/bench/internal/machine"
	"github.com/shmring/shmring/bench/internal/placement"
	"github.com/shmring/shmring/bench/internal/runner"
)

// table writes a Markdown table. The first column is to the left.
func table(head []string, rows [][]string) string {
	if len(rows) == 0 {
		return "Not measured in this run.\n"
	}
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(head)
	rule := make([]string, len(head))
	for i := range rule {
		rule[i] = "---:"
	}
	rule[0] = "---"
	line(rule)
	for _, r := range rows {
		line(r)
	}
	return b.String()
}

// main is the place that most was measured in.
func (r *Report) main() string {
	if r.Settings.Pinned && r.Machine.Place(machine.Pinned) != nil {
		return machine.Pinned
	}
	return machine.Free
}

// cells returns the cells of a work at a place, in the order of the transports that
// came first.
func (r *Report) cells(place string, works ...string) []*Cell {
	var list []*Cell
	for _, c := range r.Cells {
		if c.Place == place && slices.Contains(works, c.Work) && len(c.Rounds) > 0 {
			list = append(list, c)
		}
	}
	return list
}

// Latency is the table of a work that takes times, near and far.
func (r *Report) Latency(work string, size int, place string) string {
	list := bySize(r.cells(place, work), size)
	if len(list) == 0 {
		return table(nil, nil)
	}
	return r.both(func(p placement.Placement) string { return r.latency(list, p) })
}

func (r *Report) latency(cells []*Cell, p placement.Placement) string {
	var rows [][]string
	for _, c := range cells {
		if f := c.In(p); f != nil {
			rows = append(rows, []string{label(c), ns(f.Median), fmt.Sprintf("%s – %s", ns(f.Q1), ns(f.Q3)), ns(f.P50),
				ns(f.P90), ns(f.P99), ns(f.P999), ns(f.Max), fmt.Sprint(f.Samples), fmt.Sprintf("%.2f", f.CPU),
				optional(c.Syscalls), optional(f.Allocs)})
		}
	}
	mean := "mean per message"
	if len(cells) > 0 {
		mean = map[string]string{"ns/trip": "mean per trip", "ns one way": "p50"}[cells[0].Unit]
		if mean == "" {
			mean = "mean per message"
		}
	}
	return table([]string{"", mean, "quartiles of it", "p50", "p90", "p99", "p99.9", "max", "samples", "CPU s/M",
		"sys calls", "allocs"}, rows)
}

// BySize is the table of a work, near and far: a row for each transport, a column for each
// size.
func (r *Report) BySize(work, place string, value func(*Figures) string) string {
	return r.grids(r.cells(place, work), func(c *Cell) int { return c.Size }, size, value)
}

// ByWork is the table of works at one size, near and far: a row for each transport.
func (r *Report) ByWork(prefix string, n int, place string, value func(*Figures) string) string {
	var works []string
	for _, w := range r.works() {
		if strings.HasPrefix(w, prefix) {
			works = append(works, w)
		}
	}
	return r.grids(bySize(r.cells(place, works...), n), func(c *Cell) int { return number(c.Work) },
		func(n int) string { return fmt.Sprint(prefix, n) }, value)
}

// grids are tables of some cells, with a row for each transport and a column for each number
// that column gives.
func (r *Report) grids(cells []*Cell, column func(*Cell) int, head func(int) string,
	value func(*Figures) string) string {
	if len(cells) == 0 {
		return table(nil, nil)
	}
	var columns []int
	for _, c := range cells {
		if !slices.Contains(columns, column(c)) {
			columns = append(columns, column(c))
		}
	}
	slices.Sort(columns)
	heads := []string{""}
	for _, n := range columns {
		heads = append(heads, head(n))
	}
	return r.both(func(p placement.Placement) string {
		var names []string
		rows := map[string][]string{}
		for _, c := range cells {
			f := c.In(p)
			if f == nil {
				continue
			}
			name := label(c)
			if rows[name] == nil {
				rows[name] = append([]string{name}, make([]string, len(columns))...)
				names = append(names, name)
			}
			rows[name][1+slices.Index(columns, column(c))] = value(f)
		}
		var list [][]string
		for _, name := range names {
			list = append(list, rows[name])
		}
		return table(heads, list) + "\n" + samples(cells, p)
	})
}

// number is the one at the end of a work's name.
func number(work string) (n int) {
	_, digits, _ := strings.Cut(work, "-")
	fmt.Sscan(digits, &n)
	return n
}

func label(c *Cell) string {
	switch {
	case c.Group == "limit":
		return "*" + c.Transport + "*"
	case c.Where != "processes":
		return c.Transport + " (" + c.Where + ")"
	}
	return c.Transport
}

// PerMessage and Bandwidth are values of tables.
func PerMessage(f *Figures) string { return ns(f.Median) }
func Bandwidth(f *Figures) string  { return rate(f.BytesPerS, "B/s") }

// MessagesAndShares is the rate, and how unequal the senders' shares were.
func MessagesAndShares(f *Figures) string {
	if f.Shares == 0 {
		return rate(f.MsgsPerS, "/s")
	}
	return fmt.Sprintf("%s, %.1f×", rate(f.MsgsPerS, "/s"), f.Shares)
}

// TargetTable shows what was to be reached, near and far beside each other.
func (r *Report) TargetTable() string {
	var rows [][]string
	for _, t := range r.Targets {
		row := []string{t.Work, t.Target}
		var details []string
		for _, p := range placement.Both {
			v := t.in(p)
			if v == nil {
				row = append(row, "", "")
				continue
			}
			row = append(row, v.cells()...)
			if v.Detail != notSeen && !slices.Contains(details, v.Detail) {
				details = append(details, v.Detail)
			}
		}
		rows = append(rows, append(row, strings.Join(details, "; ")))
	}
	return table([]string{"work", "target", "near", "ratio", "far", "ratio", "how"}, rows)
}

// in is the verdict of a placement; of a target that has none, its only one is the first's.
func (t *Target) in(p placement.Placement) *Verdict {
	for i := range t.Verdicts {
		if v := &t.Verdicts[i]; v.Placement == p || v.Placement == placement.Neither && p == placement.Near {
			return v
		}
	}
	return nil
}

// cells are what was measured, and its ratio to the target.
func (v *Verdict) cells() []string {
	if v.Measured == nil {
		if v.Detail == notSeen {
			return []string{notSeen, "–"}
		}
		return []string{"not measured", "–"}
	}
	measured, ratio := digits(*v.Measured), fmt.Sprintf("%.2f", *v.Ratio)
	if !*v.Met {
		return []string{"**" + measured + "**", "**" + ratio + "**"}
	}
	return []string{measured, ratio}
}

// Price is what the guarantees cost: ours by the raw ring's, for each work and size that both
// have.
func (r *Report) Price() string {
	var rows [][]string
	for _, c := range r.cells(r.main(), r.works()...) {
		raw := r.Find(c.Work, c.Size, runner.RawRing, c.Place)
		if c.Transport != "shmring" || raw == nil {
			continue
		}
		row := []string{fmt.Sprintf("%s, %s", c.Work, size(c.Size))}
		for _, p := range placement.Both {
			a, b := c.In(p), raw.In(p)
			if a == nil || b == nil {
				row = append(row, "", "", notSeen)
				continue
			}
			v, _ := ratio(c, raw, p)
			row = append(row, ns(a.Median), ns(b.Median), fmt.Sprintf("%.2f (%d)", v, min(a.Samples, b.Samples)))
		}
		rows = append(rows, row)
	}
	return table([]string{"", "near: shmring", "raw C", "ratio", "far: shmring", "raw C", "ratio"}, rows)
}

// Defaults are the rows of those who ask for nothing, wherever they run.
func (r *Report) Defaults() string {
	var rows [][]string
	for _, c := range r.Cells {
		if len(c.Rounds) == 0 || c.Size != 32 || c.Work != "rtt" && c.Work != "stream" {
			continue
		}
		if c.Transport != "shmring-default" && c.Place != machine.Taskset && c.Place != machine.Free {
			continue
		}
		row := []string{label(c), c.Work, c.Place}
		for _, p := range placement.Both {
			if f := c.In(p); f != nil {
				row = append(row, ns(f.Median), ns(f.P50), ns(f.P99), fmt.Sprint(f.Samples))
			} else {
				row = append(row, notSeen, "–", "–", "0")
			}
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b []string) int { return strings.Compare(a[1]+a[2], b[1]+b[2]) })
	return table([]string{"", "work", "place", "near: mean", "p50", "p99", "samples", "far: mean", "p50", "p99",
		"samples"}, rows)
}

// losingTo are the groups whose cells are compared with ours: a limit is no rival.
var losingTo = []string{"C++", "Go", "kernel", "textbook", "peer"}

// loss is a case in which a rival beats the best of ours.
type loss struct {
	ours, other *Cell
	placement   placement.Placement
	by          float64
}

// Losing shows every case in which a rival beats the best of ours.
func (r *Report) Losing() string {
	losses := r.losses()
	slices.SortStableFunc(losses, func(a, b loss) int {
		switch {
		case a.by > b.by:
			return -1
		case a.by < b.by:
			return 1
		}
		return 0
	})
	var rows [][]string
	for _, l := range losses {
		rows = append(rows, []string{l.other.Work, size(l.other.Size), l.other.Place, string(l.placement), label(l.other),
			ns(l.other.In(l.placement).Median), l.ours.Transport, ns(l.ours.In(l.placement).Median),
			fmt.Sprintf("%.2f×", l.by)})
	}
	if len(rows) == 0 {
		return "None in this run.\n"
	}
	return table([]string{"work", "size", "place", "placement", "rival", "its time", "the best of ours", "its time",
		"rival is faster by"}, rows)
}

func (r *Report) losses() []loss {
	var list []loss
	for _, c := range r.Cells {
		if !slices.Contains(losingTo, c.Group) {
			continue
		}
		for _, p := range placement.Both {
			if c.In(p) == nil {
				continue
			}
			var ours *Cell
			for _, o := range r.Cells {
				if o.Group == "shmring" && o.Work == c.Work && o.Size == c.Size && o.Place == c.Place && o.In(p) != nil &&
					(ours == nil || o.In(p).Median < ours.In(p).Median) {
					ours = o
				}
			}
			if ours == nil {
				continue
			}
			if by, _ := ratio(ours, c, p); by > 1 {
				list = append(list, loss{ours, c, p, by})
			}
		}
	}
	return list
}
