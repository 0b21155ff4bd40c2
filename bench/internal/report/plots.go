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
)

// Plot writes the plots of the run into a folder, each as SVG and PNG.
func (r *Report) Plot(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	place := r.main()
	percentiles := func(c *Cell) []float64 { return []float64{c.P50, c.P90, c.P99, c.P999, c.Max} }
	return errors.Join(
		r.percentiles(dir, "rtt-percentiles", "Round trip, 32 bytes", r.cells(place, "rtt"), percentiles),
		r.percentiles(dir, "blocked-percentiles", "Round trip, 32 bytes, both sides asleep", slices.Concat(r.cells(place,
			"blocked"), r.sleepers(place)), percentiles),
		r.lines(dir, "stream-messages", "Streaming, one publish each", "bytes per message", "messages per second", true,
			r.cells(place, "stream"),
			func(c *Cell) (float64, float64) { return float64(c.Size), c.MsgsPerS }),
		r.lines(dir, "stream-bytes", "Streaming, one publish each", "bytes per message", "bytes per second", true,
			r.cells(place, "stream"),
			func(c *Cell) (float64, float64) { return float64(c.Size), c.BytesPerS }),
		r.lines(dir, "mpsc", "Many producers, 32 bytes", "producers", "ns per message", false, bySize(r.cells(place,
			mpscWorks(r)...), 32),
			func(c *Cell) (float64, float64) { return float64(number(c.Work)), c.Median }),
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

func (r *Report) lines(dir, name, title, x, y string, logX bool, cells []*Cell, at func(*Cell) (float64,
	float64)) error {
	p := newPlot(title, x, y)
	if logX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades{}
	} else {
		p.X.Tick.Marker = whole{}
	}
	points := map[string]plotter.XYs{}
	var order []*Cell
	for _, c := range cells {
		px, py := at(c)
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

func (r *Report) percentiles(dir, name, title string, cells []*Cell, values func(*Cell) []float64) error {
	p := newPlot(title, "", "nanoseconds")
	p.NominalX(quantiles...)
	n := 0
	for _, c := range cells {
		if c.Size != 32 || c.P50 <= 0 {
			continue
		}
		var xy plotter.XYs
		for i, v := range values(c) {
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
