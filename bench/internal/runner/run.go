package runner

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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
	patience := 5 * time.Second // with a worker that does not end itself in time
	if t.Group == Peer {
		j.Peer, j.Born, patience = true, true, 0
		j.Timeout = j.For + peerPatience
	}
	if j.Timeout == 0 {
		j.Timeout = j.For + 15*time.Second
	}
	var s fixture
	defer s.clear()
	if err := setups[t.Setup](&s, &j, c.Cleaner); err != nil {
		return nil, fmt.Errorf("%s: %w", t.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, j.Timeout+patience)
	defer cancel()
	var results []work.Result
	err = c.runAll(ctx, jobs(t, j, cpus), c.command(t, wrapper), s.files, &results)
	if err == nil && j.Peer {
		err = delivered(results)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s of %d bytes: %w", t.Name, j.Work, j.Size, err)
	}
	return results, nil
}

func (c *Runner) command(t *Transport, wrapper []string) []string {
	if t.Path != "" {
		return append(slices.Clone(wrapper), t.Path)
	}
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
	stderr beginning
}

// beginning keeps the first of what is written to it: a program that has gone mad does not
// fill our memory.
type beginning struct{ bytes.Buffer }

func (b *beginning) Write(p []byte) (int, error) {
	if room := most - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

const (
	most       = 4 << 10  // bytes of an error that are kept
	mostResult = 16 << 20 // bytes that a worker may say
)

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
			_ = a.kill() // what it started and left behind; mostly there is nothing
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
	err = all(func(a *worker) (err error) {
		said[slices.Index(workers, a)], err = a.results()
		return err
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
	args := *j
	if j.Born {
		args.CPUs = nil // it is there already
	}
	a := &worker{job: j, cmd: exec.CommandContext(ctx, command[0], append(slices.Clone(command[1:]), args.Args()...)...)}
	// A group of its own, so that what it starts ends with it.
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	a.cmd.Cancel = a.kill
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
	a.out = bufio.NewReader(io.LimitReader(out, mostResult))
	if j.Born {
		return a, startOn(a.cmd, j.CPUs)
	}
	return a, a.cmd.Start()
}

// startOn starts a process that may use some processors only, and has never seen others: it
// inherits them from the thread that makes it.
func startOn(cmd *exec.Cmd, cpus []int) error {
	if len(cpus) == 0 {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("processors %v: %w", cpus, err)
	}
	err := cmd.Start()
	return errors.Join(err, unix.SchedSetaffinity(0, &before))
}

func (a *worker) ready() error {
	line, err := a.out.ReadString('\n')
	if err == nil && line != "ready\n" {
		err = fmt.Errorf("said %.80q, want ready", line)
	}
	return err
}

// results reads what it found: one line of JSON.
func (a *worker) results() (list []work.Result, err error) {
	line, err := a.out.ReadBytes('\n')
	if len(line) == 0 {
		return nil, err
	}
	if e := json.Unmarshal(line, &list); e != nil {
		if err != nil { // it ended in the middle of the line
			return nil, err
		}
		return nil, fmt.Errorf("said %.80q, want a line of results: %w", line, e)
	}
	if a.job.Peer {
		return list, checkPeer(a.job, list)
	}
	return list, nil
}

// kill ends a worker and all that it has started.
func (a *worker) kill() error {
	if err := syscall.Kill(-a.cmd.Process.Pid, syscall.SIGKILL); err != syscall.ESRCH {
		return err
	}
	return os.ErrProcessDone
}

// HangError tells that a worker was not done in time, and was killed.
type HangError struct {
	Role  string
	After time.Duration
}

func (e *HangError) Error() string {
	return fmt.Sprintf("%s: not done after %v, killed", e.Role, e.After)
}

// explain adds what a process that failed said itself.
func (a *worker) explain(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == context.Canceled {
		return err
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit): // it was waited for
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		// It ended, or is ending: what it said is here when it has.
		if e := a.cmd.Wait(); e != nil {
			err = e
		} else {
			err = fmt.Errorf("ended before it had said what it found: %w", err)
		}
	default: // it said something wrong, and may go on
		_ = a.kill() // it may be gone by itself
		_ = a.cmd.Wait()
	}
	said := strings.TrimSpace(a.stderr.String())
	switch {
	case ctx.Err() != nil && said == "":
		return &HangError{a.job.Role, a.job.Timeout}
	case said != "" && a.job.Peer:
		return fmt.Errorf("%s: %w: %s", a.job.Role, err, said)
	case said != "":
		return fmt.Errorf("%s: %s", a.job.Role, said)
	}
	return fmt.Errorf("%s: %w", a.job.Role, err)
}
