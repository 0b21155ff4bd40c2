package tool

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

func TestSparklines(t *testing.T) {
	require.Equal(t, strings.Repeat(" ", pastLooks-4)+" ▁▄█", sparkline([]float64{0, 0.001, 0.5, 1}))
	require.Equal(t, strings.Repeat("█", pastLooks), sparkline(slicesOf(2, pastLooks)))
}

func slicesOf(f float64, n int) (list []float64) {
	for range n {
		list = append(list, f)
	}
	return list
}

func TestFramesFitTheScreen(t *testing.T) {
	require.Equal(t, "▁▂\nab", frame([]string{"▁▂▃", "abc", "d"}, 2, 2))
	require.Equal(t, "a", frame([]string{"a"}, 80, 24))
	require.Equal(t, 2, ansi.StringWidth(frame([]string{coloured(shmring.SeverityProblem, "abc")}, 2, 1)))
}

// What moved between two looks is told by the second, and a ring of the same name that is another
// one begins anew.
func TestTopTellsRates(t *testing.T) {
	dir := t.TempDir()
	o := &shmring.Options{Dir: dir, Mode: shmring.ModeOpenOrCreate, Doorbell: shmring.DoorbellFutex,
		Slots: 16, SlotSize: 256, MaxMessage: 1000}
	make := func() (*shmring.Producer, *shmring.Consumer) {
		p, err := shmring.OpenProducer(t.Context(), "r", o)
		require.NoError(t, err)
		c, err := shmring.OpenConsumer(t.Context(), "r", o)
		require.NoError(t, err)
		return p, c
	}
	p, c := make()
	show := &top{dir: dir}
	require.NoError(t, show.look())
	require.Len(t, show.rings, 1)
	require.Nil(t, show.rings[0].rates)
	for range 8 {
		require.NoError(t, p.TrySend(bytes.Repeat([]byte("x"), 248)))
	}
	n, err := c.TryDrain(4, func(shmring.Message) error { return nil })
	require.NoError(t, err)
	require.Equal(t, 4, n)
	require.NoError(t, c.Check())
	require.NoError(t, show.look())
	r := show.rings[0]
	require.NotNil(t, r.rates)
	require.InEpsilon(t, 2, r.rates.Sent/r.rates.Released, 0.001)
	require.Equal(t, []float64{0, 0.25}, r.past)
	text := show.text(time.Now(), false)
	require.Contains(t, text, "healthy: ")
	require.Contains(t, text, " ▂  4 ")

	require.NoError(t, p.Close())
	require.NoError(t, c.Close())
	require.NoError(t, os.Rename(filepath.Join(dir, "r.shmring"), filepath.Join(dir, "s.shmring")))
	p, c = make()
	require.NoError(t, show.look())
	require.Len(t, show.rings, 2)
	require.Nil(t, show.rings[0].rates, "another ring")
	require.NoError(t, p.Close())
	require.NoError(t, c.Close())
	for _, name := range []string{"r", "s"} {
		require.NoError(t, os.Remove(filepath.Join(dir, name+".shmring")))
	}
	require.NoError(t, show.look())
	require.Empty(t, show.rings)
}
