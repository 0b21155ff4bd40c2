package work

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Special is a job that is none of the workers': it returns numbers.
type Special func(j *Job) ([]float64, error)

// Child runs the job that the arguments describe, and returns the exit code.
func Child(args []string, open map[string]Open, special map[string]Special, stdin io.Reader, stdout,
	stderr io.Writer) int {
	err := child(args, open, special, stdin, stdout)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

func child(args []string, opens map[string]Open, special map[string]Special, stdin io.Reader, stdout io.Writer) error {
	j, err := Parse(args)
	if err != nil {
		return err
	}
	time.AfterFunc(j.Timeout, func() {
		fmt.Fprintf(os.Stderr, "%s %s %d bytes: %s not done after %v\n", j.Transport, j.Work, j.Size, j.Role, j.Timeout)
		os.Exit(3) // whatever it waits for
	})
	if f := special[j.Work]; f != nil {
		numbers, err := f(j)
		if err != nil {
			return err
		}
		return json.NewEncoder(stdout).Encode([]Result{{Role: j.Role, Numbers: numbers}})
	}
	open := opens[j.Transport]
	if open == nil {
		return fmt.Errorf("no transport %q", j.Transport)
	}
	s := &group{j: j, open: open, ready: make(chan error), start: make(chan struct{}), done: make(chan error)}
	in := bufio.NewReader(stdin)
	results, err := s.run(func() error {
		fmt.Fprintln(stdout, "ready")
		_, err := in.ReadString('\n')
		return err
	})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(stdout).Encode(results); err != nil {
		return err
	}
	io.Copy(io.Discard, in) // the others may still want something of what we have open
	return s.close()
}

// group is the workers of one process.
type group struct {
	j     *Job
	open  Open
	ready chan error
	start chan struct{}
	done  chan error

	mu      sync.Mutex
	workers []*worker
}

func (s *group) close() error {
	var errs []error
	for _, a := range s.workers {
		errs = append(errs, a.close())
	}
	return errors.Join(errs...)
}

// run runs the workers, from when the gate opens until all are done.
func (s *group) run(gate func() error) ([]Result, error) {
	roles := []string{s.j.Role}
	if s.j.Role == "all" {
		roles = []string{"recv"}
		if s.j.Trips() {
			roles = []string{"echo"}
		}
		for range s.j.Producers {
			roles = append(roles, map[bool]string{false: "send", true: "ping"}[s.j.Trips()])
		}
	}
	results := make([]Result, len(roles))
	for i := range roles {
		go s.worker(i, roles[i], &results[i])
	}
	var errs []error
	for range roles {
		errs = append(errs, <-s.ready)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := gate(); err != nil {
		return nil, fmt.Errorf("nobody said go: %w", err)
	}
	before := usage()
	close(s.start)
	for range roles {
		if err := <-s.done; err != nil {
			return nil, err // the others may wait for ever
		}
	}
	after := usage()
	results[0].CPUNs = after.CPUNs - before.CPUNs
	results[0].Switches = after.Switches - before.Switches
	results[0].Mallocs = after.Mallocs - before.Mallocs
	return results, nil
}

func (s *group) worker(i int, role string, r *Result) {
	index := s.j.Index
	if s.j.Role == "all" {
		index = i - 1
	}
	// First open, then pin, as those do who pin their threads themselves; the place taskset is
	// for those who are pinned from their birth.
	a, err := newWorker(s.j, role, index, s.open)
	if err == nil {
		s.mu.Lock()
		s.workers = append(s.workers, a)
		s.mu.Unlock()
		err = pinThread(s.j, i)
	}
	s.ready <- err
	if err != nil {
		return
	}
	<-s.start
	err = a.run()
	*r = a.r
	s.done <- err
}

func usage() (r Result) {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.CPUNs = u.Utime.Nano() + u.Stime.Nano()
	r.Switches = u.Nvcsw + u.Nivcsw
	r.Mallocs = m.Mallocs
	return r
}
