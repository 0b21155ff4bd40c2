package wait

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/shmring/shmring/cmd/internal/workers"
	"github.com/shmring/shmring/futex"
	"github.com/shmring/shmring/internal/clock"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

//go:embed c/baseline.c
var source string

// compiler is what makes the baseline.
const compiler = "gcc"

// baseline is a bare futex with the same silences, on the same processors: in C, or in
// Go where that cannot be had.
type baseline struct {
	program *os.File // nil: in Go
	by      string   // who made it, for people
}

// newBaseline compiles it and tries it out.
func newBaseline(ctx context.Context) *baseline {
	program, err := compile(ctx)
	y := &baseline{program, "C, by " + compiler}
	if err == nil {
		_, err = y.runProgram(ctx, [2]int{-1, -1}, time.Microsecond, 2)
	}
	if err != nil {
		y.close()
		return &baseline{nil, "Go system calls, for want of C: " + err.Error()}
	}
	return y
}

func (y *baseline) close() {
	if y.program != nil {
		y.program.Close()
	}
}

// compile returns a program that is open and has no name any more, so that nothing is
// left whatever this process ends of.
func compile(ctx context.Context) (program *os.File, err error) {
	path, err := exec.LookPath(compiler)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "shmring-wait-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithTimeout(ctx, workers.Slack)
	defer cancel()
	name := filepath.Join(dir, "baseline")
	cmd := exec.CommandContext(ctx, path, "-O2", "-std=gnu11", "-x", "c", "-o", name, "-")
	cmd.Stdin = strings.NewReader(source)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		first, _, _ := strings.Cut(string(out), "\n")
		return nil, fmt.Errorf("%s: %w: %s", compiler, err, first)
	}
	return os.Open(name)
}

// run returns how long each wake-up took, in nanoseconds. They may be fewer than asked
// for.
func (y *baseline) run(ctx context.Context, c *workers.Setup, silence time.Duration, count int) ([]int64, error) {
	if y.program != nil {
		return y.runProgram(ctx, c.CPUs, silence, count+1)
	}
	const name = "bare"
	seg, err := createBare(ctx, c.Dir, name)
	if err != nil {
		return nil, err
	}
	defer seg.Close()
	base := job{
		Job:   workers.Job{Timeout: time.Duration(count)*silence + workers.Slack},
		Dir:   c.Dir,
		Ring:  name,
		Gap:   silence,
		Count: count + 1,
	}
	results, err := workers.Run[result](ctx, c, base.as("bare-receive", c.CPUs[1]), base.as("bare-send", c.CPUs[0]))
	return results[0].Samples, err
}

func (y *baseline) runProgram(ctx context.Context, cpus [2]int, silence time.Duration, count int) ([]int64, error) {
	limit := time.Duration(count)*silence + workers.Slack
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	const inherited = 3 // the descriptor of the first of ExtraFiles
	cmd := exec.CommandContext(ctx, fmt.Sprintf("/proc/self/fd/%d", inherited), fmt.Sprint(cpus[0]),
		fmt.Sprint(cpus[1]), fmt.Sprint(silence.Nanoseconds()), fmt.Sprint(count), fmt.Sprint(int(limit.Seconds())))
	cmd.ExtraFiles = []*os.File{y.program}
	cmd.WaitDelay = time.Second
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("baseline: %w %s", err, strings.TrimSpace(said.String()))
	}
	var samples []int64
	for line := range strings.Lines(string(out)) {
		n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("baseline: %w", err)
		}
		samples = append(samples, n)
	}
	return samples, nil
}

// createBare makes a segment of which only two words are used: DataBell, which counts
// messages, and ReadPos, where the stamp is.
func createBare(ctx context.Context, dir, name string) (io.Closer, error) {
	cfg := layout.Config{Kind: layout.SPSC, Slots: 8, Participants: layout.MinParticipants, Doorbell: layout.Futex}
	bytes, err := cfg.Size()
	if err != nil {
		return nil, err
	}
	return shm.Create(ctx, name, bytes, &shm.Options{Dir: dir}, func(mem []byte, _ shm.Locks) error {
		_, err := layout.Format(mem, cfg)
		return err
	})
}

func openBare(ctx context.Context, j *job) (*layout.Hot, io.Closer, error) {
	seg, err := shm.Open(ctx, j.Ring, layout.MinSize, &shm.Options{Dir: j.Dir})
	if err != nil {
		return nil, nil, err
	}
	v, err := layout.Parse(seg.Bytes())
	if err != nil {
		return nil, nil, errors.Join(err, seg.Close())
	}
	return v.Hot, seg, nil
}

// bareSend and bareReceive are the two sides of baseline.c.
func bareSend(ctx context.Context, j *job) (*result, error) {
	hot, seg, err := openBare(ctx, j)
	if err != nil {
		return nil, err
	}
	r, err := j.paced(ctx, func() error {
		hot.ReadPos.Store(uint64(clock.Monotonic()))
		hot.DataBell.Add(1)
		return futex.WakeAll(&hot.DataBell)
	})
	return r, errors.Join(err, seg.Close())
}

func bareReceive(ctx context.Context, j *job) (*result, error) {
	hot, seg, err := openBare(ctx, j)
	if err != nil {
		return nil, err
	}
	r := &result{}
	for seen := uint32(0); seen < uint32(j.Count) && err == nil; {
		for hot.DataBell.Load() == seen && err == nil {
			if _, err = futex.Wait(&hot.DataBell, seen, time.Second); err == nil {
				err = context.Cause(ctx)
			}
		}
		took, word := clock.Monotonic()-int64(hot.ReadPos.Load()), hot.DataBell.Load()
		if word == seen+1 && seen > 0 {
			r.Samples = append(r.Samples, took)
		}
		seen = word
	}
	return r, errors.Join(err, seg.Close())
}
