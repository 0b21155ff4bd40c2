package workers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/shmring/shmring/cmd/internal/cli"
)

// Setup is where and how jobs run as processes.
type Setup struct {
	Executable string
	Child      string // the subcommand that runs one job
	Dir        string // for rings
	Quick      bool
	CPUs       [2]int // to pin producer and consumer to; -1: any
}

// Job is the part that all jobs have; they embed it.
type Job struct {
	Role    string        `json:"role"`
	CPU     int           `json:"cpu"`     // -1: any
	Timeout time.Duration `json:"timeout"` // of all of it
	Files   []*os.File    `json:"-"`       // that it inherits, from descriptor Inherited on
}

// Inherited is the descriptor of the first of a job's Files.
const Inherited = 3

// Slack is how much longer than planned a process may take. Then it hangs.
const Slack = 15 * time.Second

func (j *Job) base() *Job { return j }

type anyJob interface{ base() *Job }

// jobError tells which process failed, with what it said.
type jobError struct {
	role string
	said string
	err  error
}

func (e *jobError) Error() string {
	var exit *exec.ExitError
	switch {
	case e.said == "":
		return fmt.Sprintf("process %q: %v", e.role, e.err)
	case errors.As(e.err, &exit) && !exit.Exited(): // by a signal, so what it said need not be why
		return fmt.Sprintf("process %q: %v: %s", e.role, e.err, e.said)
	}
	return fmt.Sprintf("process %q: %s", e.role, e.said)
}

// Unwrap gives back the kind of error that the process's exit code stands for.
func (e *jobError) Unwrap() error {
	var exit *exec.ExitError
	if errors.As(e.err, &exit) && exit.ExitCode() == cli.Corrupt {
		return cli.ErrVerify
	}
	return e.err
}

// Run runs jobs side by side and returns their results. If one fails, the others are
// killed; none is left when it returns.
func Run[R any, J anyJob](ctx context.Context, c *Setup, jobs ...J) ([]*R, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		i   int
		r   *R
		err error
	}
	outcomes := make(chan outcome)
	for i, j := range jobs {
		go func() {
			r := new(R)
			outcomes <- outcome{i, r, c.one(ctx, j, r)}
		}()
	}
	results := make([]*R, len(jobs))
	var failed error
	for range jobs {
		o := <-outcomes
		results[o.i] = o.r
		if o.err != nil && failed == nil { // those after it were killed
			failed = o.err
			cancel()
		}
	}
	return results, failed
}

func (c *Setup) one(ctx context.Context, j anyJob, result any) error {
	arg, err := json.Marshal(j)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, c.Executable, c.Child, string(arg))
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.ExtraFiles = j.base().Files
	// The other end closes with this process, whatever it dies of.
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	cmd.Stdin = r
	err = cmd.Start()
	r.Close()
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return &jobError{j.base().Role, strings.TrimSpace(stderr.String()), err}
	}
	if err := json.Unmarshal(stdout.Bytes(), result); err != nil {
		return &jobError{j.base().Role, "", err}
	}
	return nil
}
