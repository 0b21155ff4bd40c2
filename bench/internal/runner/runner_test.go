package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/bench/internal/rival"
	"github.com/shmring/shmring/bench/internal/work"
)

// deadline bounds every test here; the first run also compiles the rivals.
const deadline = 100 * time.Second

func newRunner(t *testing.T) (context.Context, *Runner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	c, err := New(os.Args[0], "/dev/shm")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return ctx, c
}

// Every transport delivers every byte, in order, in every work it claims to do.
func TestDelivery(t *testing.T) {
	ctx, c := newRunner(t)
	var wg sync.WaitGroup
	for _, tr := range Transports {
		wg.Go(func() { _ = c.Build(ctx, tr) }) // build reports the error
	}
	wg.Wait()
	for _, tr := range Transports {
		if tr.Absent != "" {
			continue
		}
		t.Run(tr.Name, func(t *testing.T) {
			build(ctx, t, c, tr)
			for _, w := range []string{"rtt", "blocked", "oneway", "wake", "stream", "batch", "mpsc", "mixed"} {
				for _, size := range []int{32, 1016} {
					if !tr.Does(w, size) || w == "mixed" && size != 1016 {
						continue
					}
					j := work.Job{Work: w, Size: size, Count: 320, Verify: true, Pace: 20 * time.Microsecond}
					if w == "mixed" {
						j.Size = 4088
					}
					if w == "batch" {
						j.Batch = 64
					}
					if w == "mpsc" {
						j.Producers = 3
					}
					results, err := c.Run(ctx, tr, j, nil)
					require.NoError(t, err)
					sent, got := uint64(0), results[0].Messages
					for _, r := range results[1:] {
						sent += r.Messages
					}
					require.Equal(t, sent, got, "%s of %d bytes", w, size)
					require.GreaterOrEqual(t, got, uint64(320))
				}
			}
		})
	}
}

func TestLongMessages(t *testing.T) {
	ctx, c := newRunner(t)
	for _, name := range []string{"shmring", "shmring-zc", "shmring-mpsc", "unix", "pipe-sys"} {
		t.Run(name, func(t *testing.T) {
			tr := Find(name)
			build(ctx, t, c, tr)
			for _, size := range []int{65528, 1 << 20} {
				results, err := c.Run(ctx, tr, work.Job{Work: "stream", Size: size, Count: 20, Verify: true}, nil)
				require.NoError(t, err)
				require.Equal(t, uint64(20), results[0].Messages)
			}
		})
	}
}

// build skips rivals that are not installed: they are reported as absent.
func build(ctx context.Context, t *testing.T, c *Runner, tr *Transport) {
	t.Helper()
	err := c.Build(ctx, tr)
	var absent *rival.AbsentError
	if errors.As(err, &absent) {
		t.Skipf("%s: apt-get install %s", absent.Reason, absent.Package)
	}
	require.NoError(t, err)
}

func TestOneThatFailsTakesTheOthersAlong(t *testing.T) {
	ctx, c := newRunner(t)
	// The sender finds no descriptors to inherit, the receiver would wait for ever.
	broken := *Find("shmring")
	broken.Name = "nothing of the kind"
	_, err := c.Run(ctx, &broken, work.Job{Work: "stream", Size: 8, Count: 1}, nil)
	require.ErrorContains(t, err, `no transport "nothing of the kind"`)
	require.NoError(t, ctx.Err())
}

func TestOneThatHangsIsNamed(t *testing.T) {
	ctx, c := newRunner(t)
	_, err := c.Run(ctx, Find("shmring"), work.Job{Work: "stream", Size: 8, For: time.Hour, Timeout: time.Second}, nil)
	require.ErrorContains(t, err, "not done after 1s")
}

// A run that is killed leaves nothing either: its cleaner outlives it.
func TestCleaner(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "shmring-bench-cleaner-")
	require.NoError(t, err)
	beside := shmPrefix(dir) + "x"
	require.NoError(t, os.WriteFile(beside, nil, 0o600))
	for _, done := range []bool{true, false} {
		j, err := HireCleaner(os.Args[0])
		require.NoError(t, err)
		j.Tell("dir", dir)
		j.Tell("prefix", shmPrefix(dir))
		var s fixture
		job := work.Job{Size: 8}
		require.NoError(t, sysvQueues(&s, &job, j))
		require.NoError(t, sysvSegment(&s, &job, j))
		if done {
			s.clear()
			require.NoError(t, j.Dismiss())
			require.FileExists(t, beside)
			continue
		}
		require.NoError(t, j.in.Close())
		require.NoError(t, j.cmd.Wait())
		require.NoFileExists(t, beside)
		require.NoDirExists(t, dir)
	}
}

// TestNothingIsLeft runs last, by its place in the file.
func TestNothingIsLeft(t *testing.T) {
	left, err := filepath.Glob("/dev/shm/*shmring-bench-*")
	require.NoError(t, err)
	for _, f := range left {
		require.NotContains(t, f, fmt.Sprintf("-%d-", os.Getpid()))
	}
	out, err := exec.Command("ipcs", "-p").Output()
	if err != nil {
		t.Skip("no ipcs")
	}
	for line := range strings.Lines(string(out)) {
		require.NotContains(t, strings.Fields(line), fmt.Sprint(os.Getpid()), "left: %s", line)
	}
}
