package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/shmring/shmring"
)

func parseSetup(text string) (s setup, err error) {
	err = json.Unmarshal([]byte(text), &s)
	return s, err
}

// process is one that is killed and started again.
type process struct {
	what string
	args []string
	cmd  *exec.Cmd
	gone chan error
	runs int
	said bytes.Buffer
}

// lab is what runs.
type lab struct {
	plan
	setup
	self      string
	chance    *rand.Rand
	processes []*process // producer, out, in, consumer, servers
	verdict   verdict
}

const (
	producer = iota
	out
	in
	consumer
	servers
)

func run(ctx context.Context, p plan) (v verdict, err error) {
	l := &lab{plan: p, chance: rand.New(rand.NewPCG(p.Seed, 1))}
	l.verdict.Plan = p
	if l.self, err = os.Executable(); err != nil {
		return v, err
	}
	if l.setup.Dir, err = os.MkdirTemp("", "relaylab-*"); err != nil {
		return v, err
	}
	if l.Rings, err = os.MkdirTemp("/dev/shm", "relaylab-*"); err != nil {
		return v, err
	}
	if !p.Keep {
		defer os.RemoveAll(l.setup.Dir)
	}
	defer os.RemoveAll(l.Rings)
	l.setup.Pack, l.setup.Many, l.setup.Window, l.setup.Retain, l.setup.Rate = p.Pack, p.Many, p.Window, p.Retain, p.Rate
	l.Replicas = p.Nodes
	if err := l.addServers(); err != nil {
		return v, err
	}
	defer l.killAll()
	for _, p := range l.processes {
		if err := l.start(p); err != nil {
			return v, err
		}
	}
	begin := time.Now()
	err = l.killSome(ctx)
	if err == nil {
		err = l.letThrough(ctx)
	}
	l.verdict.Seconds = time.Since(begin).Seconds()
	if err == nil {
		err = l.judge()
	}
	if err != nil {
		for _, p := range l.processes {
			if text := strings.TrimSpace(p.said.String()); text != "" {
				err = fmt.Errorf("%w\n%s said: %s", err, p.what, text[max(0, len(text)-2000):])
			}
		}
	}
	return l.verdict, err
}

// addServers finds free ports, and says which processes there are.
func (l *lab) addServers() error {
	for _, what := range []string{"producer", "out", "in", "consumer"} {
		l.processes = append(l.processes, &process{what: what})
	}
	var ports []string
	for range 2 * l.Nodes {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().String())
	}
	var urls []string
	for n := range l.Nodes {
		urls = append(urls, "nats://"+ports[n])
		args := []string{filepath.Join(l.setup.Dir, fmt.Sprint("store-", n)), ports[n], fmt.Sprint("node-", n)}
		if l.Nodes > 1 {
			args = append(append(args, ports[l.Nodes+n]), ports[l.Nodes:]...)
		}
		l.processes = append(l.processes, &process{what: "server", args: args})
	}
	l.URL = strings.Join(urls, ",")
	return nil
}

func (l *lab) start(p *process) error {
	s := l.setup
	s.Run = p.runs
	p.runs++
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	p.cmd = exec.Command(l.self, append([]string{childWord, p.what, string(text)}, p.args...)...)
	p.cmd.Stderr = io.MultiWriter(limited{&p.said})
	if l.Verbose {
		p.cmd.Stderr = os.Stderr
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	cmd, gone := p.cmd, make(chan error, 1)
	p.gone = gone
	go func() { gone <- cmd.Wait() }()
	return nil
}

// limited keeps the end of what a process says.
type limited struct{ *bytes.Buffer }

func (b limited) Write(p []byte) (int, error) {
	if b.Len() > 1<<16 {
		b.Reset()
	}
	return b.Buffer.Write(p)
}

// kill kills a process, and waits until it is gone. One that had ended by itself has failed.
func (l *lab) kill(p *process) error {
	if p.cmd == nil {
		return nil
	}
	select {
	case err := <-p.gone:
		p.cmd = nil
		return fmt.Errorf("%s ended by itself: %w", p.what, errors.Join(err, errors.New(p.said.String())))
	default:
	}
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	<-p.gone
	p.cmd = nil
	return nil
}

// end ends a process. A relay that was killed in the middle of a send, and whose ring is removed before another could
// look what became of it, cannot know, and says so: so an In is asked to end, when it has looked.
func (l *lab) end(ctx context.Context, p *process) error {
	if p.what != "in" {
		return l.kill(p)
	}
	for begin := time.Now(); ; {
		if _, err := os.Stat(readyPath(l.setup.Dir, p.runs-1)); err == nil {
			break
		}
		if time.Since(begin) > patience {
			return errors.New(p.what + " does not begin")
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-p.gone:
		p.cmd = nil
		return err
	case <-time.After(patience):
		return errors.New(p.what + " does not end")
	}
}

func (l *lab) killAll() {
	for _, p := range l.processes {
		if p.cmd != nil {
			p.cmd.Process.Kill()
			<-p.gone
			p.cmd = nil
		}
	}
}

// killSome kills at random, and starts again at once, or a little later.
func (l *lab) killSome(ctx context.Context) error {
	every := l.Kills/max(1, l.Anew) + 1
	for n := 1; n <= l.Kills; n++ {
		if err := pause(ctx, time.Duration(l.chance.IntN(int(60*time.Millisecond)))); err != nil {
			return err
		}
		p := l.processes[l.chance.IntN(len(l.processes))]
		if err := l.kill(p); err != nil {
			return err
		}
		l.verdict.count(p.what)
		if l.chance.IntN(4) == 0 {
			if err := pause(ctx, time.Duration(l.chance.IntN(int(30*time.Millisecond)))); err != nil {
				return err
			}
		}
		if err := l.start(p); err != nil {
			return err
		}
		if n%every == 0 {
			if err := l.makeAnew(ctx, l.chance.IntN(2) == 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// makeAnew lets a ring run empty, kills who uses it, and removes it: who comes next makes it anew.
func (l *lab) makeAnew(ctx context.Context, first bool) error {
	from, to, name := l.processes[producer], l.processes[out], ringOut
	if !first {
		from, to, name = l.processes[in], l.processes[consumer], ringIn
	}
	if err := l.end(ctx, from); err != nil {
		return err
	}
	if err := l.empty(ctx, name); err != nil {
		return err
	}
	if err := l.kill(to); err != nil {
		return err
	}
	if err := shmring.Remove(ctx, name, &shmring.AdminOptions{Dir: l.Rings}); err != nil {
		return err
	}
	l.verdict.RingsAnew++
	return errors.Join(l.start(from), l.start(to))
}

// patience is how long anything may take that goes on by itself.
const patience = 90 * time.Second

// empty waits until all that is in a ring was released.
func (l *lab) empty(ctx context.Context, name string) error {
	begin := time.Now()
	for {
		s, err := shmring.Inspect(ctx, name, &shmring.InspectOptions{Dir: l.Rings})
		if err == nil && s.Ring != nil && s.Ring.Queue.Slots == 0 {
			return nil
		}
		if time.Since(begin) > patience {
			return fmt.Errorf("ring %s does not run empty: %v, %v", name, s.Verdicts, err)
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}
