// Package examples holds programs; see README.md. Its tests run each of them, in processes
// of its own.
package examples

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// bin is where the programs are.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "shmring-examples"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		if out, err := exec.Command("go", "build", "-o", bin, "./...").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// place is a directory for rings of its own, and a deadline.
type place struct {
	t   *testing.T
	ctx context.Context
	dir string
}

func newPlace(t *testing.T) place {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	p := place{t, ctx, t.TempDir()}
	t.Cleanup(func() { // semaphores, with SHMRING_DOORBELL=sysv, outlive the directory
		for _, ring := range []string{"hello", "fanin", "ticks", "logs"} {
			_ = shmring.Remove(context.Background(), ring, &shmring.AdminOptions{Dir: p.dir})
		}
	})
	return p
}

func (p place) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(p.ctx, filepath.Join(bin, args[0]), args[1:]...)
	cmd.Env = append(os.Environ(), shmring.EnvDir+"="+p.dir)
	return cmd
}

// run runs a program to its end and returns what it printed.
func (p place) run(args ...string) string {
	out, err := p.command(args...).Output()
	require.NoError(p.t, err, "%v: %s", args, stderr(err))
	return string(out)
}

func stderr(err error) []byte {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.Stderr
	}
	return nil
}

// process is a program that runs.
type process struct {
	*exec.Cmd
	t     *testing.T
	lines *bufio.Scanner
}

func (p place) start(args ...string) *process {
	cmd := p.command(args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(p.t, err)
	require.NoError(p.t, cmd.Start())
	p.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &process{Cmd: cmd, t: p.t, lines: bufio.NewScanner(out)}
}

func (r *process) line() string {
	require.True(r.t, r.lines.Scan(), "%v ended, or is late", r.Args)
	return r.lines.Text()
}

func (r *process) stop() {
	require.NoError(r.t, r.Process.Signal(syscall.SIGTERM))
	require.NoError(r.t, r.Wait())
}

func TestHello(t *testing.T) {
	p := newPlace(t)
	receiver := p.start("hello", "receive") // first, so that it waits
	p.run("hello", "send", "one", "two")
	require.Equal(t, "one", receiver.line())
	require.Equal(t, "two", receiver.line())
	require.NoError(t, receiver.Wait())
}

// Three producers, of which one is killed. What it had sent arrives, and the service goes on.
func TestFanIn(t *testing.T) {
	p := newPlace(t)
	service := p.start("fanin", "serve")
	require.Equal(t, "serving", service.line())
	next := map[int]int{}
	// All the time somebody reads what the service prints: else it waits, and with it the ring.
	readOf := func(pid, n int) {
		for next[pid] < n {
			var from, i int
			_, err := fmt.Sscan(service.line(), &from, &i)
			require.NoError(t, err)
			require.Equal(t, next[from], i, "in order, and none is missing")
			next[from]++
		}
	}
	victim := p.start("fanin", "work", "100000000")
	worker := p.start("fanin", "work", "1000")
	readOf(worker.Process.Pid, 1000)
	require.NoError(t, worker.Wait())
	readOf(victim.Process.Pid, 1)
	require.NoError(t, victim.Process.Kill())
	victim.Wait()
	late := p.start("fanin", "work", "1000")
	readOf(late.Process.Pid, 1000)
	require.Len(t, next, 3)
	require.NoError(t, late.Wait())
	service.stop()
}

func TestStructs(t *testing.T) {
	p := newPlace(t)
	p.run("structs", "send", "3")
	require.Equal(t, "0 1.5 100 GO\n1 1.5 100 GO\n2 1.5 100 GO\n", p.run("structs", "receive"))
}

// The sink is killed again and again; each message has its effect once. Then the ring is
// removed and made again, and its messages, at the same positions, have theirs too.
func TestExactlyOnce(t *testing.T) {
	p := newPlace(t)
	journal := filepath.Join(p.dir, "journal")
	var want []string
	for generation := range 2 {
		var texts []string
		for i := range 2000 {
			texts = append(texts, fmt.Sprintf("%d-%d", generation, i))
		}
		want = append(want, texts...)
		p.run(append([]string{"hello", "send"}, texts...)...)
		for kills := range 10 {
			sink := p.start("exactlyonce", journal)
			time.Sleep(time.Duration(kills) * time.Millisecond) // how far it comes is up to chance
			sink.Process.Kill()
			sink.Wait()
		}
		p.rest(journal, len(want))
		require.NoError(t, shmring.Remove(p.ctx, "hello", &shmring.AdminOptions{Dir: p.dir}))
	}
	require.Equal(t, want, effects(t, journal))
}

// rest runs the sink until the journal has all effects.
func (p place) rest(journal string, all int) {
	sink := p.start("exactlyonce", journal)
	for len(effects(p.t, journal)) < all {
		require.NoError(p.t, p.ctx.Err())
		time.Sleep(time.Millisecond)
	}
	sink.Process.Kill() // it may wait for another stream, if a former one has got the end
	sink.Wait()
}

func effects(t *testing.T, journal string) (list []string) {
	text, err := os.ReadFile(journal)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	whole := text[:strings.LastIndexByte(string(text), '\n')+1]
	for line := range strings.Lines(string(whole)) {
		fields := strings.Fields(line)
		require.Len(t, fields, 3)
		list = append(list, fields[2])
	}
	return list
}

func TestManyRings(t *testing.T) {
	p := newPlace(t)
	service := p.start("manyrings", "hello", "ticks")
	require.Equal(t, "ready", service.line())
	p.run("hello", "send", "one", "two")
	require.Equal(t, "hello: one", service.line())
	require.Equal(t, "hello: two", service.line())
	require.Equal(t, "hello has ended", service.line())
	p.run("structs", "send", "1")
	require.True(t, strings.HasPrefix(service.line(), "ticks: "))
	for service.lines.Scan() { // the rest, of which the bytes of a struct may make several lines
	}
	require.NoError(t, service.Wait())
}

// The worker is killed; the next one goes on where it stopped, and warns of what the first
// may have handled.
func TestSupervised(t *testing.T) {
	p := newPlace(t)
	supervisor := p.start("supervised")
	var worker int
	var tookOver bool
	_, err := fmt.Sscanf(supervisor.line(), "worker %d, took over: %t", &worker, &tookOver)
	require.NoError(t, err)
	require.False(t, tookOver)
	p.run("hello", "send", "one", "two")
	require.Equal(t, "one, redelivered: false", supervisor.line())
	require.Equal(t, "two, redelivered: false", supervisor.line())

	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	_, err = fmt.Sscanf(supervisor.line(), "worker %d, took over: %t", &worker, &tookOver)
	require.NoError(t, err)
	require.True(t, tookOver)
	p.run("hello", "send", "three")
	for {
		line := supervisor.line()
		if strings.HasPrefix(line, "three, ") {
			break
		}
		require.True(t, strings.HasSuffix(line, ", redelivered: true"), line)
	}
	supervisor.stop()
	require.Error(t, syscall.Kill(worker, 0), "the worker is gone")
}

func TestLogs(t *testing.T) {
	p := newPlace(t)
	p.run("logs", "say", "first")
	p.run("logs", "say", "second")
	said := p.run("logs", "collect")
	require.Equal(t, 2, strings.Count(said, "\n"), said)
	require.Contains(t, said, `"msg":"first"`)
	require.Contains(t, said, `"msg":"second"`)
}

func TestCalls(t *testing.T) {
	t.Setenv(shmring.EnvLocks, "") // sealed rings have locks of one kind
	p := newPlace(t)
	socket := filepath.Join(p.dir, "s")
	server := p.start("calls", "serve", socket)
	require.Equal(t, "serving", server.line())
	require.Equal(t, "7\n", p.run("calls", "add", socket, "3", "4"))
	server.stop()
}
