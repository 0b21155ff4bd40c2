package demo

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

// crew runs jobs as processes.
type crew struct {
	executable string
}

// jobError tells which process failed, with what it said.
type jobError struct {
	role string
	said string
	err  error
}

func (e *jobError) Error() string {
	if e.said == "" {
		return fmt.Sprintf("process %q: %v", e.role, e.err)
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

// run runs jobs side by side and returns their results. If one fails, the others are
// killed; none is left when it returns.
func (c crew) run(ctx context.Context, jobs ...*job) ([]*result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		i   int
		r   *result
		err error
	}
	outcomes := make(chan outcome)
	for i, j := range jobs {
		go func() {
			r, err := c.one(ctx, j)
			outcomes <- outcome{i, r, err}
		}()
	}
	results := make([]*result, len(jobs))
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

func (c crew) one(ctx context.Context, j *job) (*result, error) {
	arg, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, c.executable, ChildCommand, string(arg))
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// The other end closes with this process, whatever it dies of.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	cmd.Stdin = r
	err = cmd.Start()
	r.Close()
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return nil, &jobError{j.Role, strings.TrimSpace(stderr.String()), err}
	}
	var res result
	if err := json.Unmarshal(stdout.Bytes(), &res); err != nil {
		return nil, &jobError{j.Role, "", err}
	}
	return &res, nil
}
