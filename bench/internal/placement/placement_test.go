package placement

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// around are n values within some percent of a middle.
func around(dice *rand.Rand, middle, percent float64, n int) []float64 {
	var list []float64
	for range n {
		list = append(list, middle*(1+(2*dice.Float64()-1)*percent/100))
	}
	return list
}

func join(lists ...[]float64) (all []float64) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func TestFind(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name   string
		probes []float64
		found  bool
		cut    float64 // inside the gap
	}{
		{"none", nil, false, 0},
		{"one", []float64{130}, false, 0},
		{"one placement", around(dice, 135, 10, 700), false, 0},
		{"one placement, noisy", around(dice, 150, 40, 700), false, 0},
		{"one placement with outliers", join(around(dice, 135, 5, 700), []float64{500, 800, 3000}), false, 0},
		{"both", join(around(dice, 135, 8, 500), around(dice, 505, 6, 200)), true, 250},
		{"mostly far", join(around(dice, 135, 8, 20), around(dice, 505, 6, 900)), true, 250},
		{"both, and some between", join(around(dice, 135, 8, 850), around(dice, 505, 6, 850),
			[]float64{180, 220, 260, 300, 350, 380, 410, 440}), true, 260},
		{"a machine ten times as slow", join(around(dice, 1350, 8, 50), around(dice, 5050, 6, 40)), true, 2500},
		{"few", []float64{130, 131, 500, 490, 129, 505}, true, 250},
		{"one stray of few", []float64{130, 131, 500, 132, 129, 130}, false, 0},
		{"half as much again", join(around(dice, 100, 2, 50), around(dice, 140, 2, 50)), false, 0},
		{"the near ones farther from each other", []float64{100, 180, 320, 500, 760, 765, 770, 775}, false, 0},
		{"the far ones farther from each other", []float64{100, 101, 102, 103, 160, 250, 400, 640}, false, 0},
		{"a ramp", func() (v []float64) {
			for x := 100.0; x < 2000; x *= 1.02 {
				v = append(v, x)
			}
			return v
		}(), false, 0},
	} {
		gap, found := Find(c.probes)
		require.Equal(t, c.found, found, "%s: %+v", c.name, gap)
		if found {
			require.Less(t, gap.Below, c.cut, c.name)
			require.Greater(t, gap.Above, c.cut, c.name)
		} else {
			require.Zero(t, gap, c.name)
		}
	}
}

func TestSamplesCountForOnePlacementOrNone(t *testing.T) {
	g := Gap{Below: 140, Above: 480}
	for _, c := range []struct {
		before, after float64
		want          Placement
	}{
		{130, 140, Near}, {90, 135, Near}, {490, 505, Far}, {480, 9000, Far},
		{130, 500, Neither}, {500, 130, Neither}, // the host moved them
		{130, 260, Neither}, {260, 260, Neither}, {260, 500, Neither}, // a probe of neither
		{130, 200, Near}, {340, 500, Far}, // a third of the way, by ratio
	} {
		require.Equal(t, c.want, g.Of(c.before, c.after), "%v to %v", c.before, c.after)
	}
	one := Gap{}
	require.Equal(t, Near, one.Of(130, 150))
	require.Equal(t, Near, one.Of(510, 500), "with one placement only, all is in one column")
	require.Equal(t, Neither, one.Of(130, 500), "unlike probes are no sample there either")
	require.Equal(t, Near, one.Of(0, 0), "without a probe, as well")
	require.Equal(t, Neither, g.Say(260))
	require.Equal(t, Far, g.Say(505))
}

// It measures something, leaves this process's processors as they were, and ends.
func TestProbe(t *testing.T) {
	var before, after unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &before))
	var cpus []int
	for i := range len(before) * 64 {
		if before.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	if len(cpus) < 2 || runtime.GOMAXPROCS(0) < 2 {
		p, err := New(cpus)
		require.NoError(t, err)
		require.Nil(t, p)
		return
	}
	p, err := New(cpus)
	require.NoError(t, err)
	defer p.Close()
	done := make(chan []float64)
	go func() { done <- []float64{p.Measure(), p.Measure(), p.Measure()} }()
	select {
	case v := <-done:
		for _, x := range v {
			require.Positive(t, x)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a probe of milliseconds is not done after 30 s")
	}
	require.NoError(t, unix.SchedGetaffinity(0, &after))
	require.Equal(t, before, after)
}

func TestNoProbeWithoutTwoProcessors(t *testing.T) {
	for _, cpus := range [][]int{nil, {0}, {0, 0}} {
		p, err := New(cpus)
		require.NoError(t, err)
		require.Nil(t, p)
		require.Zero(t, p.Measure())
		p.Close()
	}
	_, err := New([]int{0, 1023})
	require.ErrorContains(t, err, "processor 1023")
}
