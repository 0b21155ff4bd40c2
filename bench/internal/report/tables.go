package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shmring/shmring/bench/internal/machine"
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

// Latency is the table of a work that takes times.
func (r *Report) Latency(work string, size int, place string) string {
	var rows [][]string
	for _, c := range r.cells(place, work) {
		if c.Size == size {
			rows = append(rows, []string{label(c), ns(c.P50), ns(c.P90), ns(c.P99), ns(c.P999), ns(c.Max),
				fmt.Sprintf("%s – %s", ns(c.Q1), ns(c.Q3)), fmt.Sprintf("%.2f", c.CPU), optional(c.Syscalls), optional(c.Allocs)})
		}
	}
	return table([]string{"", "p50", "p90", "p99", "p99.9", "max", "quartiles of p50", "CPU s/M", "sys calls", "allocs"},
		rows)
}

// BySize is the table of a work: a row for each transport, a column for each size.
func (r *Report) BySize(work, place string, value func(*Cell) string) string {
	cells := r.cells(place, work)
	var sizes []int
	var names []string
	by := map[string]map[int]*Cell{}
	for _, c := range cells {
		if !slices.Contains(sizes, c.Size) {
			sizes = append(sizes, c.Size)
		}
		if by[label(c)] == nil {
			by[label(c)] = map[int]*Cell{}
			names = append(names, label(c))
		}
		by[label(c)][c.Size] = c
	}
	slices.Sort(sizes)
	head := []string{""}
	for _, s := range sizes {
		head = append(head, size(s))
	}
	var rows [][]string
	for _, name := range names {
		row := []string{name}
		for _, s := range sizes {
			if c := by[name][s]; c != nil {
				row = append(row, value(c))
			} else {
				row = append(row, "")
			}
		}
		rows = append(rows, row)
	}
	return table(head, rows)
}

// ByWork is the table of works at one size: a row for each transport.
func (r *Report) ByWork(prefix string, n int, place string, value func(*Cell) string) string {
	var works []string
	for _, w := range r.works() {
		if strings.HasPrefix(w, prefix) {
			works = append(works, w)
		}
	}
	slices.SortFunc(works, func(a, b string) int { return number(a) - number(b) })
	var names []string
	by := map[string]map[string]*Cell{}
	for _, c := range r.cells(place, works...) {
		if c.Size != n {
			continue
		}
		if by[label(c)] == nil {
			by[label(c)] = map[string]*Cell{}
			names = append(names, label(c))
		}
		by[label(c)][c.Work] = c
	}
	var rows [][]string
	for _, name := range names {
		row := []string{name}
		for _, w := range works {
			if c := by[name][w]; c != nil {
				row = append(row, value(c))
			} else {
				row = append(row, "")
			}
		}
		rows = append(rows, row)
	}
	return table(append([]string{""}, works...), rows)
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
func PerMessage(c *Cell) string { return ns(c.Median) }
func Bandwidth(c *Cell) string  { return rate(c.BytesPerS, "B/s") }

// MessagesAndShares is the rate, and how unequal the senders' shares were.
func MessagesAndShares(c *Cell) string {
	if c.Shares == 0 {
		return rate(c.MsgsPerS, "/s")
	}
	return fmt.Sprintf("%s, %.1f×", rate(c.MsgsPerS, "/s"), c.Shares)
}

// TargetTable shows what was to be reached.
func (r *Report) TargetTable() string {
	var rows [][]string
	for _, t := range r.Targets {
		measured, met := "–", "not measured"
		if t.Measured != nil {
			measured = digits(*t.Measured)
		}
		if t.Met != nil {
			met = map[bool]string{true: "met", false: "**missed**"}[*t.Met]
		}
		rows = append(rows, []string{t.Work, t.Target, measured, met, t.Detail})
	}
	return table([]string{"work", "target", "measured", "", "how"}, rows)
}

// losingTo are the groups whose cells are compared with ours: a limit is no rival.
var losingTo = []string{"C++", "Go", "kernel", "textbook"}

// Losing shows every case in which a rival beats the best of ours.
func (r *Report) Losing() string {
	type loss struct {
		ours, other *Cell
		by          float64
	}
	var losses []loss
	for _, c := range r.Cells {
		if !slices.Contains(losingTo, c.Group) || len(c.Rounds) == 0 {
			continue
		}
		var ours *Cell
		for _, o := range r.Cells {
			if o.Group == "shmring" && o.Work == c.Work && o.Size == c.Size && o.Place == c.Place && len(o.Rounds) > 0 &&
				(ours == nil || o.Median < ours.Median) {
				ours = o
			}
		}
		if ours == nil {
			continue
		}
		if by := median(ratios(ours, c)); by > 1 {
			losses = append(losses, loss{ours, c, by})
		}
	}
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
		rows = append(rows, []string{l.other.Work, size(l.other.Size), l.other.Place, label(l.other), ns(l.other.Median),
			l.ours.Transport, ns(l.ours.Median), fmt.Sprintf("%.2f×", l.by)})
	}
	if len(rows) == 0 {
		return "None in this run.\n"
	}
	return table([]string{"work", "size", "place", "rival", "its time", "the best of ours", "its time",
		"rival is faster by"}, rows)
}
