package suite

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/shmring/shmring/bench/internal/report"
	"github.com/shmring/shmring/bench/internal/runner"
)

// countSyscalls runs some of the jobs once more under strace, untimed, with two numbers
// of messages: what the second makes more is what its messages cost.
func countSyscalls(ctx context.Context, c *runner.Runner, jobs []*job, r *report.Report, show Progress) error {
	strace, err := exec.LookPath("strace")
	if err != nil {
		r.Absent = append(r.Absent, report.Absent{Transport: "system calls per message", Reason: "strace is not installed",
			Package: "strace"})
		return nil
	}
	var some []*job
	for _, j := range jobs {
		w := j.cell.Work
		if j.cell.Size == 32 && (w == "rtt" || w == "blocked" || w == "stream" || w == "batch-64") &&
			len(j.cell.Rounds) > 0 && len(j.cpus) > 0 {
			some = append(some, j)
		}
	}
	show.Begin(len(some))
	for _, j := range some {
		show.Step("system calls of " + j.cell.Key().String())
		n, err := syscalls(ctx, c, j, strace)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			j.cell.Syscalls = &n
		}
	}
	return nil
}

func syscalls(ctx context.Context, c *runner.Runner, j *job, strace string) (float64, error) {
	const few, many = 1280, 5120
	count := func(messages int) (int, error) {
		dir, err := os.MkdirTemp(c.Dir, "strace-")
		if err != nil {
			return 0, err
		}
		defer os.RemoveAll(dir)
		job := j.job
		job.Count, job.For = messages, 0
		// The shell gives each process a file of its own.
		wrapper := []string{"/bin/sh", "-c", `f=$1/$$; s=$0; shift; exec "$s" -f -c -o "$f" -- "$@"`, strace, dir}
		if _, err := c.RunWith(ctx, j.transport, job, j.cpus, wrapper); err != nil {
			return 0, err
		}
		files, _ := filepath.Glob(dir + "/*")
		total := 0
		for _, f := range files {
			n, err := straceTotal(f)
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	}
	a, err := count(few)
	if err != nil {
		return 0, err
	}
	b, err := count(many)
	if err != nil {
		return 0, err
	}
	return max(0, float64(b-a)/(many-few)), nil
}

// straceTotal is the number of calls in the last line of a summary.
func straceTotal(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) > 3 && f[len(f)-1] == "total" {
			return strconv.Atoi(f[3])
		}
	}
	return 0, fmt.Errorf("%s: no total in what strace says", path)
}
