package runner

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/shmring/shmring/bench/internal/rival"
	"github.com/shmring/shmring/bench/internal/work"
)

// ChildCommand is the subcommand that runs one job.
const ChildCommand = "child"

// Runner runs jobs.
type Runner struct {
	Executable string // this program
	Dir        string // a memory file system; everything is made below it
	Cleaner    *Cleaner

	mu       sync.Mutex
	programs map[*rival.Program]string
}

// New is a runner that works below a directory of its own. Close removes it.
func New(executable, parent string) (*Runner, error) {
	dir, err := os.MkdirTemp(parent, "shmring-bench-")
	if err != nil {
		return nil, err
	}
	c := &Runner{Executable: executable, Dir: dir, programs: map[*rival.Program]string{}}
	if c.Cleaner, err = HireCleaner(executable); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	c.Cleaner.Tell("dir", dir)
	return c, nil
}

// Close removes the directory, and with it what a failure may have left there.
func (c *Runner) Close() error {
	err := os.RemoveAll(c.Dir)
	if e := c.Cleaner.Dismiss(); err == nil {
		err = e
	}
	return err
}

// Build makes a transport's program, if it has one. The error is a *rival.AbsentError
// where something is missing.
func (c *Runner) Build(ctx context.Context, t *Transport) error {
	if t.Absent != "" {
		return &rival.AbsentError{Reason: t.Absent}
	}
	if t.Program == nil {
		return nil
	}
	path, err := t.Program.Build(ctx, c.Dir)
	if err == nil {
		c.mu.Lock()
		c.programs[t.Program] = path
		c.mu.Unlock()
	}
	return err
}

// Run runs a job of a transport and returns what its workers found: first the receiving
// one, then the others. cpus are the processors of each; none: any.
func (c *Runner) Run(ctx context.Context, t *Transport, j work.Job, cpus []int) ([]work.Result, error) {
	return c.RunWith(ctx, t, j, cpus, nil)
}

// RunWith is Run under a wrapper, such as strace.
func (c *Runner) RunWith(ctx context.Context, t *Transport, j work.Job, cpus []int, wrapper []string) ([]work.Result,
	error) {
	dir, err := os.MkdirTemp(c.Dir, "")
	if err != nil {
		return nil, err
	}
	// Its name tells whose it is, also where it is a prefix.
	if err := os.Rename(dir, dir+"-"+filepath.Base(c.Dir)); err != nil {
		return nil, err
	}
	j.Dir = dir + "-" + filepath.Base(c.Dir)
	defer os.RemoveAll(j.Dir)
	j.Transport = t.Name
	if j.Timeout == 0 {
		j.Timeout = j.For + 15*time.Second
	}
	var s fixture
	defer s.clear()
	if err := setups[t.Setup](&s, &j, c.Cleaner); err != nil {
		return nil, fmt.Errorf("%s: %w", t.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, j.Timeout+5*time.Second)
	defer cancel()
	var results []work.Result
	err = c.runAll(ctx, jobs(t, j, cpus), c.command(t, wrapper), s.files, &results)
	if err != nil {
		return nil, fmt.Errorf("%s: %s of %d bytes: %w", t.Name, j.Work, j.Size, err)
	}
	return results, nil
}

func (c *Runner) command(t *Transport, wrapper []string) []string {
	if t.Program != nil {
		return append(slices.Clone(wrapper), c.programs[t.Program])
	}
	return append(slices.Clone(wrapper), c.Executable, ChildCommand)
}

// jobs are the workers of a job, the receiving one first.
func jobs(t *Transport, j work.Job, cpus []int) []*work.Job {
	j.Producers, j.Batch = max(1, j.Producers), max(1, j.Batch)
	cpu := func(i int) []int {
		switch {
		case len(cpus) == 0:
			return nil
		case i == 0 || len(cpus) == 1:
			return cpus[:1]
		}
		return []int{cpus[1+(i-1)%(len(cpus)-1)]} // senders share what the receiver has not got
	}
	if j.Role != "" { // a job of its own kind
		j.CPUs = cpu(0)
		return []*work.Job{&j}
	}
	if t.Where != Processes {
		j.Role = "all"
		for i := range 1 + j.Producers {
			j.CPUs = append(j.CPUs, cpu(i)...)
		}
		return []*work.Job{&j}
	}
	roles := [2]string{"recv", "send"}
	if j.Trips() {
		roles = [2]string{"echo", "ping"}
	}
	list := make([]*work.Job, 1+j.Producers)
	for i := range list {
		one := j
		one.Role, one.CPUs = roles[min(i, 1)], cpu(i)
		one.Index = max(0, i-1)
		list[i] = &one
	}
	return list
}

// worker is a process.
type worker struct {
	job    *work.Job
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

// runAll starts the workers, sets them off together, and collects what they say. If one
// fails, the others are killed; none is left when it returns.
func (c *Runner) runAll(ctx context.Context, jobs []*work.Job, command []string, files []*os.File,
	results *[]work.Result) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var workers []*worker
	defer func() {
		cancel()
		for _, a := range workers {
			a.cmd.Wait()
		}
	}()
	for _, j := range jobs {
		a, err := start(ctx, j, command, files)
		if err != nil {
			return err
		}
		workers = append(workers, a)
	}
	all := func(f func(*worker) error) error {
		errs := make(chan error)
		for _, a := range workers {
			go func() { errs <- a.explain(ctx, f(a)) }()
		}
		var first error
		for range workers {
			if err := <-errs; err != nil && first == nil {
				first = err
				cancel()
			}
		}
		return first
	}
	if jobs[0].Role != "special" {
		if err := all((*worker).ready); err != nil {
			return err
		}
		for _, a := range workers {
			fmt.Fprintln(a.in, "go")
		}
	}
	said := make([][]work.Result, len(workers))
	err = all(func(a *worker) error {
		return json.NewDecoder(a.out).Decode(&said[slices.Index(workers, a)])
	})
	if err != nil {
		return err
	}
	for _, r := range said {
		*results = append(*results, r...)
	}
	return all(func(a *worker) error {
		a.in.Close()
		return a.cmd.Wait()
	})
}

func start(ctx context.Context, j *work.Job, command []string, files []*os.File) (*worker, error) {
	a := &worker{job: j, cmd: exec.CommandContext(ctx, command[0], append(slices.Clone(command[1:]), j.Args()...)...)}
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	a.cmd.Stderr = &a.stderr
	a.cmd.ExtraFiles = files
	a.cmd.WaitDelay = time.Second
	var err error
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.out = bufio.NewReader(out)
	return a, a.cmd.Start()
}

func (a *worker) ready() error {
	line, err := a.out.ReadString('\n')
	if err == nil && line != "ready\n" {
		err = fmt.Errorf("said %q, want ready", line)
	}
	return err
}

// explain adds what a process that failed said itself.
func (a *worker) explain(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == context.Canceled {
		return err
	}
	if e := a.cmd.Wait(); e != nil { // so that all it said is here
		err = e
	}
	if said := strings.TrimSpace(a.stderr.String()); said != "" {
		return fmt.Errorf("%s: %s", a.job.Role, said)
	}
	return fmt.Errorf("%s: %w", a.job.Role, err)
}
