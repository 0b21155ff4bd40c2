package shmring_test

import (
	"encoding/json"
	"expvar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

var _ expvar.Var = (*shmring.Monitor)(nil)

// A monitor remembers rings that stay, forgets those that go, and says so to expvar.
func TestMonitor(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), Mode: shmring.ModeOpenOrCreate, Slots: 16}
	m := shmring.NewMonitor(&shmring.InspectOptions{Dir: o.Dir})
	require.Equal(t, "[]", m.String())
	p, c := openProducer(t, &o), openConsumer(t, &o)
	require.NoError(t, p.Send(soon(t), []byte("x")))
	require.NoError(t, os.WriteFile(filepath.Join(o.Dir, "text.shmring"), []byte("hello"), 0o600))
	list, err := m.Look(soon(t))
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Zero(t, list[0].Watched)
	var seen []shmring.Snapshot
	require.NoError(t, json.Unmarshal([]byte(m.String()), &seen))
	require.Equal(t, "r", seen[0].Name)
	require.Positive(t, seen[0].Watched, "the second look")
	require.Positive(t, seen[0].Ring.Queue.StillFor, "nobody took the message")
	require.Equal(t, shmring.VerdictNotARing, seen[1].Verdicts[0].Code)

	require.NoError(t, p.Close())
	require.NoError(t, c.Close())
	require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
	list, err = m.Look(soon(t))
	require.NoError(t, err)
	require.Len(t, list, 1)

	gone := shmring.NewMonitor(&shmring.InspectOptions{Dir: filepath.Join(o.Dir, "none")})
	require.Contains(t, gone.String(), `{"error":"`)
}

// Monitors are for any number of goroutines, and hold nothing between two looks.
func TestMonitorHoldsNothing(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), Mode: shmring.ModeOpenOrCreate, Slots: 16}
	openProducer(t, &o)
	m := shmring.NewMonitor(&shmring.InspectOptions{Dir: o.Dir})
	before := descriptors(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				list, err := m.Look(soon(t))
				if err != nil || len(list) != 1 {
					t.Errorf("%d rings: %v", len(list), err)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, before, descriptors(t))
}

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(list)
}

// Who imports the library does not get what serves HTTP.
func TestNobodyPaysForMetrics(t *testing.T) {
	out, err := exec.CommandContext(soon(t), "go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	for _, heavy := range []string{"net/http", "expvar", "html/template"} {
		require.NotContains(t, strings.Fields(string(out)), heavy)
	}
}
