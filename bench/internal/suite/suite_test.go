package suite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/bench/internal/link"
	"github.com/shmring/shmring/bench/internal/machine"
	"github.com/shmring/shmring/bench/internal/placement"
	"github.com/shmring/shmring/bench/internal/report"
	"github.com/shmring/shmring/bench/internal/runner"
	"github.com/shmring/shmring/bench/internal/work"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case runner.ChildCommand:
			os.Exit(work.Child(os.Args[2:], link.Opens, Specials, os.Stdin, os.Stdout, os.Stderr))
		case runner.CleanerCommand:
			os.Exit(runner.BeCleaner(os.Stdin))
		}
	}
	os.Exit(m.Run())
}

type silent struct{ steps int }

func (*silent) Begin(int)     {}
func (s *silent) Step(string) { s.steps++ }

// A run with tiny parameters: what it leaves out and what it finds out, never how fast.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	show := &silent{}
	s := Settings{
		Quick: true, Pin: true, Rounds: 2, Scale: 4, Seed: 1, Dir: dir, // beside other tests less is too short
		Run: regexp.MustCompile(`^(rtt|blocked|stream|batch-64|mpsc-2)/32/` +
			`(shmring|shmring-default|shmring-zc|shmring-mpsc|raw-go|pipe|go-chan)/|` +
			`^(resident|attach|create)/`),
	}
	r, err := Run(ctx, s, os.Args[0], show)
	require.NoError(t, err)
	require.Equal(t, 2, r.Settings.Rounds)
	require.Greater(t, len(r.Cells), 10)
	require.GreaterOrEqual(t, show.steps, 2*len(r.Cells))
	for _, c := range r.Cells {
		require.Empty(t, c.Error, c.Key())
		require.Len(t, c.Rounds, 2, c.Key())
		samples := c.Dropped
		for _, f := range []*report.Figures{c.Near, c.Far, c.All} {
			if f == nil {
				continue
			}
			samples += f.Samples
			if !strings.HasPrefix(c.Unit, "bytes") {
				require.Positive(t, f.Median, c.Key())
			}
			if c.Work == "rtt" {
				require.LessOrEqual(t, f.P50, f.P99)
				require.LessOrEqual(t, f.P99, f.Max)
			}
		}
		require.Equal(t, 2, samples, "%v: every sample counts once", c.Key())
		require.Equal(t, c.Work == "resident" || c.Work == "attach" || c.Work == "create", c.Anywhere, c.Key())
		if r.Machine.Pair() != nil {
			require.Positive(t, c.Rounds[0].Probe[0], c.Key())
			require.Positive(t, c.Rounds[0].Probe[1], c.Key())
		}
	}
	require.NotEmpty(t, r.Machine.Model)
	require.NotEmpty(t, r.Targets)
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestCancelledRunLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	dir := t.TempDir()
	s := Settings{Quick: true, Rounds: 1, Scale: 100, Dir: dir, Run: regexp.MustCompile("stream/32/(shmring|pipe)/")}
	_, err := Run(ctx, s, os.Args[0], &silent{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// The quick run has what the targets want.
func TestQuickHasTheTargets(t *testing.T) {
	m := machine.Describe()
	keys := map[string]bool{}
	for _, j := range plan(Settings{Quick: true, Pin: true}, &m) {
		keys[j.cell.Key().String()] = true
	}
	p := (&planner{s: Settings{Pin: true}, m: &m}).main()
	for _, want := range []string{
		"rtt/32/raw-pingpong/", "rtt/32/boost-spsc/", "stream/8/ck-ring/", "batch-1/48/shmring/",
		"batch-64/8/moodycamel-cq/", "stream/1048576/raw-copy-4/",
		"stream/65528/shmring/", "stream/1016/shmring-mpsc/", "mpsc-8/32/shmring-mpsc/", "stream/32/tcp/",
		"rtt/32/unix-sys/", "blocked/32/futex/",
		"rtt/1016/shmring/", "rtt/8/raw-pingpong/", "rtt/64/raw-c/", "stream/65536/raw-c/", "stream/4096/shmring/",
		"stream/8/shmring-zc/", "stream/1016/shmring-zc/", "batch-64/8/raw-c/", "mixed/0/shmring/",
		"stream/8/shmring-mpsc/", "stream/248/shmring-mpsc/", "mpsc-2/8/shmring-mpsc/", "mpsc-4/32/shmring-mpsc/",
	} {
		require.True(t, keys[want+p], want)
	}
	for _, size := range []int{8, 32, 64, 248, 1016, 4096, 65536} {
		require.True(t, keys[fmt.Sprintf("stream/%d/raw-c/%s", size, p)], size)
	}
	for _, place := range m.Places {
		if place.Born || place.Name == machine.Free {
			require.True(t, keys["rtt/32/shmring-default/"+place.Name], place.Name)
			require.True(t, keys["stream/32/shmring-default/"+place.Name], place.Name)
		}
	}
	// Nothing that a target asks for is not part of the quick run.
	r := &report.Report{Settings: report.Settings{Pinned: true}, Machine: m}
	for _, j := range plan(Settings{Quick: true, Pin: true}, &m) {
		j.cell.Rounds = []report.Round{{Round: 1, Value: 1, P50: 1, Shares: 1}}
		j.cell.Group = strings.Replace(j.cell.Group, "limit", "C++", 1) // whether there are rivals is the machine's business
		r.Cells = append(r.Cells, j.cell)
	}
	r.Sort([]float64{1}, nil, "")
	for _, c := range r.Cells {
		c.Rounds[0].Placement = placement.Near
		c.Finish(true)
	}
	r.Judge()
	for _, target := range r.Targets {
		for _, v := range target.Verdicts {
			if v.Placement != placement.Far {
				require.NotNil(t, v.Met, "%s: %s", target.Work, v.Detail)
			}
		}
	}
	for _, j := range plan(Settings{Quick: true, Pin: true}, &m) {
		require.Equal(t, j.cell.Place == machine.Taskset, j.job.Born, j.cell.Key())
		require.Equal(t, j.cell.Place == machine.Free, len(j.cpus) == 0, j.cell.Key())
	}
	full := map[string]bool{}
	for _, j := range plan(Settings{Pin: true}, &m) {
		full[j.cell.Key().String()] = true
	}
	for k := range keys {
		require.True(t, full[k], "%s is in the quick run only", k)
	}
}

// Peers that hang, fail and are none have a line each in the report; what else is measured has
// its figures, and a hanging one costs its seconds once.
func TestPeersDoNotSpoilTheRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	peers := t.TempDir()
	describe := "#!/bin/sh\n[ \"$1\" = describe ] && " +
		"{ echo '{\"about\":\"x\",\"works\":[\"stream\"],\"max\":4096}'; exit; }\n"
	good := "for a; do case $a in for=*) n=${a#for=};; esac; done\n" +
		"echo ready; read go; echo '[{\"messages\":500,\"window_messages\":400,\"window_ns\":4000}]'; read end; exit 0\n"
	for name, text := range map[string]string{
		"hangs": describe + "exec sleep 1000\n",
		"fails": describe + "echo no luck >&2; exit 7\n",
		"good":  describe + good,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(peers, name), []byte(text), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(peers, "text"), []byte("hello"), 0o644))
	s := Settings{Quick: true, Rounds: 3, Seed: 1, Dir: t.TempDir(),
		Run: regexp.MustCompile(`^stream/(8|32)/(peer-|shmring/)`)}
	var err error
	s.Peers, s.BadPeers, err = runner.Peers(ctx, peers)
	require.NoError(t, err)
	r, err := Run(ctx, s, os.Args[0], &silent{})
	require.NoError(t, err)
	for _, c := range r.Cells {
		switch c.Transport {
		case "shmring":
			require.Empty(t, c.Error)
			require.Len(t, c.Rounds, 3)
		case "peer-good":
			require.Empty(t, c.Error)
			require.Len(t, c.Rounds, 3)
			require.InDelta(t, 10, c.Rounds[0].Value, 1e-9)
			require.InDelta(t, float64(c.Size), c.Rounds[0].Bytes, 1e-9)
		case "peer-fails":
			require.Contains(t, c.Error, "exit status 7: no luck")
			require.Empty(t, c.Rounds)
		case "peer-hangs":
			require.Empty(t, c.Rounds)
		}
	}
	said := report.Summary(r)
	require.Regexp(t, `absent: peer-hangs: left out of the rest of the run: .*not done after 5\.0\d*s, killed`, said)
	require.Equal(t, 1, strings.Count(said, "absent: peer-hangs"), said)
	require.Contains(t, said, "absent: peer-text: is not executable: chmod +x")
	require.Contains(t, said, "stream/8/peer-fails/"+(&planner{s: s, m: &r.Machine}).main()+" failed:")
	require.Contains(t, r.Peers, report.PeerInfo{Name: "peer-good", About: "x", Where: "processes"})
}

func TestSyscallsAreCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	require.NoError(t, os.WriteFile(path, []byte(`% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000006           3         2           write
------ ----------- ----------- --------- --------- ----------------
100.00    0.000010           2         5         1 total
`), 0o600))
	n, err := straceTotal(path)
	require.NoError(t, err)
	require.Equal(t, 5, n)
}
