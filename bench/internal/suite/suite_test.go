package suite

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/bench/internal/link"
	"github.com/shmring/shmring/bench/internal/machine"
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
			`(shmring|shmring-zc|shmring-mpsc|raw-go|pipe|go-chan)/|` +
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
		if !strings.HasPrefix(c.Unit, "bytes") {
			require.Positive(t, c.Median, c.Key())
		}
		if c.Work == "rtt" {
			require.LessOrEqual(t, c.P50, c.P99)
			require.LessOrEqual(t, c.P99, c.Max)
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
	} {
		require.True(t, keys[want+p], want)
	}
	full := map[string]bool{}
	for _, j := range plan(Settings{Pin: true}, &m) {
		full[j.cell.Key().String()] = true
	}
	for k := range keys {
		require.True(t, full[k], "%s is in the quick run only", k)
	}
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
