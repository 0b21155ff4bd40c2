package host

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/internal/pin"
)

func TestQuotaIsRead(t *testing.T) {
	for text, want := range map[string]float64{"50000 100000\n": 0.5, "max 100000\n": 0, "": 0, "5 0": 0} {
		n, limited := quotaOf(text)
		require.Equal(t, want, n, text)
		require.Equal(t, want > 0, limited, text)
	}
}

func TestThisMachine(t *testing.T) {
	require.Regexp(t, `^Linux \d`, Kernel())
	require.Equal(t, len(pin.CPUs()), Processors())
	require.GreaterOrEqual(t, Load(), 0.0)
	s := Spent()
	require.Positive(t, s.all)
	require.Positive(t, s.own)
	p := Places{}
	p.Note()
	for cpu := range p {
		require.Contains(t, pin.CPUs(), cpu)
	}
	Places(nil).Note()
}

func TestWhatElseRan(t *testing.T) {
	begin := Times{100 * time.Second, 40 * time.Second, time.Second, 10 * time.Second}
	end := Times{120 * time.Second, 50 * time.Second, 2 * time.Second, 15 * time.Second}
	others, stolen := begin.Beside(end)
	require.Equal(t, 25.0, others, "5 s of 20, for 5 of the 10 were our own")
	require.Equal(t, 5.0, stolen)
	others, _ = begin.Beside(Times{120 * time.Second, 41 * time.Second, time.Second, 12 * time.Second})
	require.Zero(t, others, "ticks are coarser than what processes are told")
	others, stolen = Times{}.Beside(Times{})
	require.Zero(t, others+stolen, "the system does not tell")
}

func TestPlacesAreNamed(t *testing.T) {
	require.Equal(t, "", Places{}.String())
	require.Equal(t, "3", Places{3: 7}.String())
	p := Places{1: 1, 0: 2}
	p.Add(Places{0: 1, 2: 4})
	require.Equal(t, "2 (50 %), 0 (38 %), 1 (12 %)", p.String())
}
