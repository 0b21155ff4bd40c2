package report

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/shmring/shmring/bench/internal/placement"
)

// Plot writes the plots of the run into a folder, each as SVG and PNG, for each placement that
// was seen.
func (r *Report) Plot(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var errs []error
	for _, p := range placement.Both {
		errs = append(errs, r.plot(dir, p))
	}
	return errors.Join(errs...)
}

func (r *Report) plot(dir string, p placement.Placement) error {
	place := r.main()
	name := func(s string) string { return s + "-" + string(p) }
	title := func(s string) string { return s + ", processors " + string(p) }
	return errors.Join(
		r.percentiles(dir, name("rtt-percentiles"), title("Round trip, 32 bytes"), r.cells(place, "rtt"), p),
		r.percentiles(dir, name("blocked-percentiles"), title("Round trip, 32 bytes, both sides asleep"),
			slices.Concat(r.cells(place, "blocked"), r.sleepers(place)), p),
		r.lines(dir, name("stream-messages"), title("Streaming, one publish each"), "bytes per message",
			"messages per second", true, r.cells(place, "stream"), p,
			func(c *Cell, f *Figures) (float64, float64) { return float64(c.Size), f.MsgsPerS }),
		r.lines(dir, name("stream-bytes"), title("Streaming, one publish each"), "bytes per message",
			"bytes per second", true, r.cells(place, "stream"), p,
			func(c *Cell, f *Figures) (float64, float64) { return float64(c.Size), f.BytesPerS }),
		r.lines(dir, name("mpsc"), title("Many producers, 32 bytes"), "producers", "ns per message", false,
			bySize(r.cells(place, mpscWorks(r)...), 32), p,
			func(c *Cell, f *Figures) (float64, float64) { return float64(number(c.Work)), f.Median }),
	)
}

// sleepers are round trips of those who sleep whatever they are asked.
func (r *Report) sleepers(place string) []*Cell {
	var list []*Cell
	for _, c := range r.cells(place, "rtt") {
		if c.Group == "kernel" {
			list = append(list, c)
		}
	}
	return list
}

func mpscWorks(r *Report) []string {
	var list []string
	for _, w := range r.works() {
		if len(w) > 5 && w[:5] == "mpsc-" {
			list = append(list, w)
		}
	}
	return list
}

func bySize(cells []*Cell, size int) []*Cell {
	return slices.DeleteFunc(cells, func(c *Cell) bool { return c.Size != size })
}

// palette is one of colours that most people can tell apart; groups have dashes.
var palette = []color.RGBA{
	{0, 0, 0, 255}, {213, 94, 0, 255}, {0, 114, 178, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {230, 159, 0, 255},
	{86, 180, 233, 255},
}

func style(group string, i int) draw.LineStyle {
	s := draw.LineStyle{Color: palette[i%len(palette)], Width: vg.Points(1)}
	switch group {
	case "shmring":
		s.Color, s.Width = palette[i%3], vg.Points(2.5)
	case "limit":
		s.Dashes = []vg.Length{vg.Points(6), vg.Points(3)}
	case "kernel":
		s.Dashes = []vg.Length{vg.Points(2), vg.Points(2)}
	case "Go":
		s.Dashes = []vg.Length{vg.Points(8), vg.Points(2), vg.Points(2), vg.Points(2)}
	}
	return s
}

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.BackgroundColor = color.White
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, decades{}
	p.Legend.Top = true
	p.Legend.TextStyle.Font.Size = vg.Points(8)
	p.Add(plotter.NewGrid())
	return p
}

func (r *Report) lines(dir, name, title, x, y string, logX bool, cells []*Cell, of placement.Placement,
	at func(*Cell, *Figures) (float64, float64)) error {
	p := newPlot(title, x, y)
	if logX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades{}
	} else {
		p.X.Tick.Marker = whole{}
	}
	points := map[string]plotter.XYs{}
	var order []*Cell
	for _, c := range cells {
		f := c.In(of)
		if f == nil {
			continue
		}
		px, py := at(c, f)
		if px <= 0 || py <= 0 {
			continue
		}
		if points[c.Transport] == nil {
			order = append(order, c)
		}
		points[c.Transport] = append(points[c.Transport], plotter.XY{X: px, Y: py})
	}
	for i, c := range order {
		xy := points[c.Transport]
		slices.SortFunc(xy, func(a, b plotter.XY) int { return int(math.Copysign(1, a.X-b.X)) })
		l, err := plotter.NewLine(xy)
		if err != nil {
			return err
		}
		l.LineStyle = style(c.Group, i)
		p.Add(l)
		p.Legend.Add(c.Transport, l)
	}
	return save(p, len(order), dir, name)
}

// quantiles are where the percentiles of a line are drawn, as in the plots of
// HdrHistogram: each nine takes as much room as the one before.
var quantiles = []string{"p50", "p90", "p99", "p99.9", "max"}

func (r *Report) percentiles(dir, name, title string, cells []*Cell, of placement.Placement) error {
	p := newPlot(title, "", "nanoseconds")
	p.NominalX(quantiles...)
	n := 0
	for _, c := range cells {
		f := c.In(of)
		if c.Size != 32 || f == nil || f.P50 <= 0 {
			continue
		}
		var xy plotter.XYs
		for i, v := range []float64{f.P50, f.P90, f.P99, f.P999, f.Max} {
			xy = append(xy, plotter.XY{X: float64(i), Y: v})
		}
		l, err := plotter.NewLine(xy)
		if err != nil {
			return err
		}
		l.LineStyle = style(c.Group, n)
		p.Add(l)
		p.Legend.Add(c.Transport, l)
		n++
	}
	return save(p, n, dir, name)
}

// save leaves a plot without lines out.
func save(p *plot.Plot, lines int, dir, name string) error {
	if lines == 0 {
		return nil
	}
	p.X.Max += (p.X.Max - p.X.Min) / 4 // room for the legend
	if _, log := p.X.Scale.(plot.LogScale); log {
		p.X.Max *= 8
	}
	height := max(5, 1+float64(lines)*0.17)
	var errs []error
	for _, ext := range []string{"svg", "png"} {
		errs = append(errs, p.Save(9*vg.Inch, vg.Length(height)*vg.Inch, filepath.Join(dir, name+"."+ext)))
	}
	return errors.Join(errs...)
}

// decades marks 1, 2 and 5 of each power of ten on a logarithmic axis.
type decades struct{}

func (decades) Ticks(min, max float64) []plot.Tick {
	var ticks []plot.Tick
	for e := math.Floor(math.Log10(min)); e <= math.Ceil(math.Log10(max)); e++ {
		for _, d := range []float64{1, 2, 5} {
			if v := d * math.Pow(10, e); v >= min && v <= max {
				ticks = append(ticks, plot.Tick{Value: v, Label: short(v)})
			}
		}
	}
	return ticks
}

// whole marks whole numbers.
type whole struct{}

func (whole) Ticks(min, max float64) []plot.Tick {
	var ticks []plot.Tick
	for v := math.Ceil(min); v <= max; v++ {
		ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprint(v)})
	}
	return ticks
}

func short(v float64) string {
	for _, u := range []struct {
		by   float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= u.by {
			return fmt.Sprintf("%g%s", v/u.by, u.name)
		}
	}
	return fmt.Sprintf("%g", v)
}
