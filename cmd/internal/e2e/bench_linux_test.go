package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/internal/pin"
)

func TestBench(t *testing.T) {
	dir := ringDir(t)
	p := start(t, dir, "shmring", []string{"bench", "-for", "200ms", "-size", "32,1K"})
	p.ends(0)
	require.Empty(t, p.stderr.String())
	out := strings.Join(strings.Fields(p.stdout.String()), " ")
	for _, want := range []string{"not pinned", "load ", "ran on processors: producers ",
		"spsc ring, 8192 slots of 256 bytes, waiting balanced; 3 rounds in",
		"over size producers ns/msg lowest highest Mmsg/s MB/s socket/ring ring 32 1 ", "socket 1024 1 ",
		"over size p50 lowest highest p99 max trips socket/ring ring 32 ", "The system chose the processors"} {
		require.Contains(t, out, want)
	}
	requireNothingLeft(t, dir)
}

// spread is of rounds.
type spread struct{ Median, Lowest, Highest float64 }

// benchReport is what bench -json prints.
type benchReport struct {
	OK       bool
	Kind     string
	Wait     string
	Rounds   int
	Slots    int
	SlotSize int `json:"slot_size"`
	Pinned   []int
	Machine  struct {
		Kernel     string
		Processors int
		Quota      *float64
		Load       *float64 `json:"load_before"`
		Others     *float64 `json:"others_percent"`
	}
	RanOn    struct{ Producers, Consumer map[string]int } `json:"ran_on"`
	Warnings []string
	Streams  []struct {
		Over      string
		Size      int
		Producers int
		Ns        spread  `json:"ns_per_msg"`
		PerSecond float64 `json:"msgs_per_s"`
		Messages  uint64
	}
	Trips []struct {
		Over  string
		Size  int
		P50   spread `json:"p50_ns"`
		P99   spread `json:"p99_ns"`
		Max   int64  `json:"max_ns"`
		Count int64
		Times float64 `json:"socket_to_ring"`
	} `json:"round_trips"`
}

func TestBenchForMachines(t *testing.T) {
	dir := ringDir(t)
	cpu := pin.CPUs()[0]
	p := start(t, base, "shmring", strings.Fields("bench -for 200ms -size 0,100K -kind mpsc -producers 2 -slots 1024 "+
		fmt.Sprintf("-wait sleep -pin %d,%d -json -dir %s", cpu, cpu, dir)))
	p.ends(0)
	var r benchReport
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &r))
	require.True(t, r.OK)
	require.Equal(t, "mpsc sleep 3 1024 256", fmt.Sprintf("%s %s %d %d %d", r.Kind, r.Wait, r.Rounds, r.Slots, r.SlotSize))
	require.Equal(t, []int{cpu, cpu, cpu}, r.Pinned)
	require.Contains(t, r.Machine.Kernel, "Linux ")
	require.Positive(t, r.Machine.Processors)
	require.NotNil(t, r.Machine.Quota)
	require.NotNil(t, r.Machine.Load)
	require.NotNil(t, r.Machine.Others)
	require.Contains(t, strings.Join(r.Warnings, "\n"), fmt.Sprint("several processes on processor ", cpu))
	require.Len(t, r.RanOn.Producers, 1)
	require.Positive(t, r.RanOn.Producers[fmt.Sprint(cpu)])
	require.Positive(t, r.RanOn.Consumer[fmt.Sprint(cpu)])
	require.Len(t, r.Streams, 2, "a socket has no stream of several producers")
	for i, s := range r.Streams {
		require.Equal(t, "ring", s.Over)
		require.Equal(t, []int{0, 100 << 10}[i], s.Size)
		require.Equal(t, 2, s.Producers)
		require.Positive(t, s.Ns.Lowest)
		require.LessOrEqual(t, s.Ns.Median, s.Ns.Highest)
		require.Positive(t, s.PerSecond)
		require.Positive(t, s.Messages)
	}
	require.Len(t, r.Trips, 3, "nor any of messages without a byte")
	for _, trip := range r.Trips {
		require.Positive(t, trip.P50.Lowest)
		require.Positive(t, trip.P99.Median)
		require.Positive(t, trip.Max)
		require.GreaterOrEqual(t, trip.Count, int64(3*100))
		require.Equal(t, trip.Over == "ring" && trip.Size > 0, trip.Times > 0)
	}
	requireNothingLeft(t, dir)
}

// However it is interrupted, whatever it measures then, nothing is left.
func TestInterruptedBenchLeavesNothing(t *testing.T) {
	for _, args := range []string{"", "-no-socket", "-kind mpsc -producers 3"} {
		for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
			dir := ringDir(t)
			p := start(t, dir, "shmring", strings.Fields("bench -for 10m "+args))
			eventually(t, "children", func() bool { return len(processesWith(t, dir)) >= 2 })
			p.signal(s)
			p.ends(1)
			require.Contains(t, p.stderr.String(), "interrupted")
			require.Equal(t, 1, strings.Count(p.stderr.String(), "\n"), p.stderr)
			require.Empty(t, p.stdout.String(), "no figures of half a run")
			requireNothingLeft(t, dir)
		}
	}
}

// They would go on for a minute each.
func TestKilledBenchTakesItsProcessesAlong(t *testing.T) {
	dir := ringDir(t)
	p := start(t, dir, "shmring", []string{"bench", "-for", "3h"})
	eventually(t, "children", func() bool { return len(processesWith(t, dir)) >= 2 })
	p.kill()
	eventually(t, "end of the children", func() bool { return len(processesWith(t, dir)) == 0 })
}

// One of its processes is killed: it says which, ends the others, and leaves nothing.
func TestBenchWhoseProcessIsKilled(t *testing.T) {
	for _, args := range []string{"-size 32", "-size 64K", "-kind mpsc -producers 2"} {
		dir := ringDir(t)
		p := start(t, dir, "shmring", strings.Fields("bench -for 10m "+args))
		eventually(t, "its end", func() bool {
			for _, pid := range processesWith(t, dir) {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
				break
			}
			select {
			case <-p.ended:
				return true
			default:
				return false
			}
		})
		p.ends(cli.Failed)
		require.Regexp(t, `^shmring bench: (stream|round trips) of \d+ bytes over a (ring|socket), round \d+: process `+
			`"[a-z-]+": .+\n$`, p.stderr.String())
		requireNothingLeft(t, dir)
	}
}

// A ring that does not fit is refused with the numbers, by the process that makes it.
func TestBenchWithoutSpace(t *testing.T) {
	dir := ringDir(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mounting a small tmpfs needs privileges: ", err)
	}
	defer syscall.Unmount(dir, 0)
	p := start(t, dir, "shmring", []string{"bench", "-for", "1s", "-json"})
	p.ends(cli.Failed)
	require.Regexp(t, `process "(send|receive|ping|echo)": shm: need 2\d\d\d KiB in `+dir, p.stderr.String())
	var r struct {
		OK    bool
		Error string
	}
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &r))
	require.False(t, r.OK)
	require.Contains(t, r.Error, "need 2")
	requireNothingLeft(t, dir)
}
