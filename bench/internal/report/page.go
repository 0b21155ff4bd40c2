package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/shmring/shmring/bench/internal/machine"
	"github.com/shmring/shmring/bench/internal/placement"
	"github.com/shmring/shmring/bench/internal/runner"
)

//go:embed page.md.tmpl
var pageText string

// page is what the template sees.
type page struct {
	*Report
	Plots string // where they are, seen from the page; empty: none
}

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"permsg": func() func(*Figures) string { return PerMessage },
	"bytes":  func() func(*Figures) string { return Bandwidth },
	"shares": func() func(*Figures) string { return MessagesAndShares },
	"join":   strings.Join,
	"pct":    func(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) },
}).Parse(pageText))

// Page writes the page about the run to a file. plots is the folder with its plots, or
// empty.
func (r *Report) Page(path, plots string) error {
	p := page{Report: r}
	if plots != "" {
		rel, err := filepath.Rel(filepath.Dir(path), plots)
		if err != nil {
			return err
		}
		p.Plots = filepath.ToSlash(rel)
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		return err
	}
	return writeFile(path, b.Bytes())
}

// PlacementLines tell what was seen of near and far.
func (p page) PlacementLines() []string { return p.Placements.Lines() }

// Plot links a plot for each placement that was seen; name is that of the file.
func (p page) Plot(title, name string) string {
	var b strings.Builder
	for _, of := range placement.Both {
		if p.Plots != "" && p.Placements.Of(of).Samples > 0 {
			fmt.Fprintf(&b, "![%s, %s](%s/%s-%s.svg)\n", title, of, p.Plots, name, of)
		}
	}
	return b.String()
}

// Main is the place that most was measured in.
func (p page) Main() string { return p.main() }

// Others are the other places that were measured.
func (p page) Others() []string {
	var list []string
	for _, place := range p.Machine.Places {
		if place.Name != p.main() && place.Name != machine.Taskset && len(p.cells(place.Name, "rtt", "stream")) > 0 {
			list = append(list, place.Name)
		}
	}
	return list
}

// Minutes is how long it took.
func (p page) Minutes() string { return fmt.Sprintf("%.0f", p.Seconds/60) }

// Transports tells what each is.
func (p page) Transports() string {
	var rows [][]string
	for _, t := range runner.Transports {
		state := t.Where
		for _, a := range p.Absent {
			if a.Transport == t.Name {
				state = "absent: " + a.Reason
			}
		}
		rows = append(rows, []string{t.Name, string(t.Group), t.About, state})
	}
	for _, t := range p.Peers {
		rows = append(rows, []string{t.Name, string(runner.Peer), t.About, t.Where})
	}
	return table([]string{"name", "kind", "what it is", "between"}, rows)
}
