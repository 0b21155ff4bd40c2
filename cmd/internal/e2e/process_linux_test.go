package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/workers"
)

// deadline bounds everything that waits for a process.
const deadline = 30 * time.Second

// ringDir makes a directory for the rings of one test.
func ringDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(base, "")
	require.NoError(t, err)
	t.Cleanup(func() {
		// A command that was killed leaves a directory of its own in it.
		assert.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			return workers.RemoveRings(path)
		}))
		require.NoError(t, os.RemoveAll(dir))
	})
	return dir
}

// process is one of the programs, running.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser // unless given
	stdout *output        // unless given
	stderr *output
	ended  chan struct{}
}

// output collects what a process writes and can be watched.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed and renewed at each write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// next returns what is there, and a channel that closes when there is more.
func (o *output) next() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more == nil {
		o.more = make(chan struct{})
	}
	return o.b.String(), o.more
}

// setup changes a process before it starts.
type setup func(*exec.Cmd)

func stdin(r io.Reader) setup  { return func(c *exec.Cmd) { c.Stdin = r } }
func stdout(w io.Writer) setup { return func(c *exec.Cmd) { c.Stdout = w } }

// start runs a program with the ring directory of a test. It is killed at the end of
// the test if it still runs.
func start(t *testing.T, dir, program string, args []string, setups ...setup) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], args...), stderr: &output{}, ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), envProgram+"="+program, "SHMRING_DIR="+dir,
		"GORACE=atexit_sleep_ms=0") // else each process of a race build takes a second to end
	p.cmd.Stderr = p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // should this process be killed
	for _, s := range setups {
		s(p.cmd)
	}
	if p.cmd.Stdin == nil {
		in, err := p.cmd.StdinPipe()
		require.NoError(t, err)
		p.stdin = in
	}
	if p.cmd.Stdout == nil {
		p.stdout = &output{}
		p.cmd.Stdout = p.stdout
	}
	p.cmd.WaitDelay = deadline
	require.NoError(t, p.cmd.Start())
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%s %v: %v, said: %s", program, args, p.cmd.ProcessState, p.stderr)
		}
	})
	return p
}

func producer(t *testing.T, dir, args string, setups ...setup) *process {
	t.Helper()
	return start(t, dir, "producer", append([]string{"-ring", "r"}, strings.Fields(args)...), setups...)
}

func consumer(t *testing.T, dir, args string, setups ...setup) *process {
	t.Helper()
	return start(t, dir, "consumer", append([]string{"-ring", "r"}, strings.Fields(args)...), setups...)
}

// wait returns the exit code; -1: a signal.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(deadline):
		p.t.Fatalf("%v hangs; it said: %s", p.cmd.Args, p.stderr)
		return 0
	}
}

// ends requires an exit code.
func (p *process) ends(code int) {
	p.t.Helper()
	require.Equal(p.t, code, p.wait(), "%v said: %s", p.cmd.Args, p.stderr)
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

func (p *process) kill() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Kill())
	<-p.ended
}

func (p *process) write(s string) {
	p.t.Helper()
	_, err := io.WriteString(p.stdin, s)
	require.NoError(p.t, err)
}

// until waits for an output to satisfy a condition.
func (p *process) until(o *output, what string, ok func(string) bool) {
	p.t.Helper()
	timeout := time.After(deadline)
	for {
		s, more := o.next()
		if ok(s) {
			return
		}
		select {
		case <-more:
		case <-timeout:
			p.t.Fatalf("%v: no %s; it said: %s", p.cmd.Args, what, p.stderr)
		}
	}
}

func (p *process) says(text string) {
	p.t.Helper()
	p.until(p.stderr, text, func(s string) bool { return strings.Contains(s, text) })
}

// prints waits for a number of lines on standard output.
func (p *process) prints(lines int) {
	p.t.Helper()
	p.until(p.stdout, "output", func(s string) bool { return strings.Count(s, "\n") >= lines })
}

// totals reads the object of -json.
func (p *process) totals() cli.Totals {
	p.t.Helper()
	var t cli.Totals
	d := json.NewDecoder(strings.NewReader(p.stderr.String()))
	d.DisallowUnknownFields()
	require.NoError(p.t, d.Decode(&t), p.stderr.String())
	require.False(p.t, d.More(), "one object and nothing else")
	require.Equal(p.t, t.ExitCode, p.cmd.ProcessState.ExitCode())
	return t
}

// lines cuts output into whole lines; what is behind the last newline is left out.
func lines(s string) []string {
	var out []string
	sc := bufio.NewScanner(strings.NewReader(s[:strings.LastIndex(s, "\n")+1]))
	for sc.Scan() {
		out = append(out, sc.Text())
	}
	return out
}

// eventually polls for what nothing tells of.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, deadline, time.Millisecond, what)
}
