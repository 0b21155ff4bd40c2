//go:build linux

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
	host *host // nil: where we are
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
	server    string // the path of nats-server; empty: servers are this program
	chance    *rand.Rand
	hosts     *hosts
	processes []*process // producer, out, in, consumer, servers
	verdict   verdict
	sunk      int64     // as far as the sink was read
	lines     uint64    // that it had until there
	grown     time.Time // when it had become longer
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
	var ringsDone, done func()
	if l.setup.Dir, done, err = folder(os.TempDir(), p.Keep); err != nil {
		return v, err
	}
	defer done()
	if l.Rings, ringsDone, err = folder("/dev/shm", false); err != nil {
		return v, err
	}
	defer ringsDone()
	if l.server, err = findServer(ctx, p.Server, l.setup.Dir); err != nil {
		return v, err
	}
	l.setup.Pack, l.setup.Many, l.setup.Window, l.setup.Retain, l.setup.Rate = p.Pack, p.Many, p.Window, p.Retain, p.Rate
	l.Replicas = p.Nodes
	if err := l.addProcesses(); err != nil {
		return v, err
	}
	if l.hosts != nil {
		defer l.hosts.close()
	}
	defer l.killAll()
	for _, p := range l.processes {
		if err := l.start(p); err != nil {
			return v, err
		}
	}
	begin := time.Now()
	err = l.trouble(ctx)
	if err == nil {
		err = l.letThrough(ctx)
	}
	l.verdict.Seconds = time.Since(begin).Seconds()
	if err == nil {
		err = l.judge()
	}
	if l.hosts != nil {
		l.verdict.Carried, l.verdict.Dropped = l.hosts.wire.carried.Load(), l.hosts.wire.dropped.Load()
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

// addProcesses says which processes there are, and where.
func (l *lab) addProcesses() error {
	for _, what := range []string{"producer", "out", "in", "consumer"} {
		l.processes = append(l.processes, &process{what: what})
	}
	addresses, err := l.addHosts()
	if err == nil && !l.Hosts {
		addresses, err = freePorts(2 * l.Nodes)
	}
	if err != nil {
		return err
	}
	var urls []string
	for n := range l.Nodes {
		urls = append(urls, "nats://"+addresses[n])
		args := []string{filepath.Join(l.setup.Dir, fmt.Sprint("store-", n)), addresses[n], fmt.Sprint("node-", n)}
		if l.Nodes > 1 {
			args = append(append(args, addresses[l.Nodes+n]), addresses[l.Nodes:]...)
		}
		p := &process{what: "server", args: args}
		if l.Hosts {
			p.host = l.hosts.list[l.hostOfNode(n)]
		}
		l.processes = append(l.processes, p)
	}
	l.URL = strings.Join(urls, ",")
	return nil
}

// addHosts makes the hosts, if there are to be any, and returns at which addresses the servers listen: for clients,
// then for each other.
func (l *lab) addHosts() (addresses []string, err error) {
	if !l.Hosts {
		return nil, nil
	}
	names := []string{"a", "b"}
	if l.Nodes > 1 {
		for n := range l.Nodes {
			names = append(names, fmt.Sprint("node-", n))
		}
	}
	if l.hosts, err = newHosts(names, l.Link, l.Seed); err != nil {
		return nil, err
	}
	for i, p := range l.processes {
		p.host = l.hosts.list[i/in] // producer and out are on the first, in and consumer on the second
	}
	for _, port := range []int{clients, routes} {
		for n := range l.Nodes {
			addresses = append(addresses, addressOf(l.hostOfNode(n), port))
		}
	}
	return addresses, nil
}

// hostOfNode is on which host a server is: a single one is beside the relay out, which would embed it.
func (l *lab) hostOfNode(n int) int {
	if l.Nodes == 1 {
		return 0
	}
	return 2 + n
}

func freePorts(n int) (addresses []string, err error) {
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
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
	if p.what == "server" && l.server != "" {
		args, err := serverArgs(p.args)
		if err != nil {
			return err
		}
		p.cmd = exec.Command(l.server, args...)
	}
	p.cmd.Stderr = io.MultiWriter(limited{&p.said})
	if l.Verbose {
		p.cmd.Stderr = os.Stderr
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start := p.cmd.Start
	if p.host != nil {
		start = func() error { return p.host.start(p.cmd) }
	}
	if err := start(); err != nil {
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

// trouble kills processes and cuts links, side by side.
func (l *lab) trouble(ctx context.Context) error {
	cut := make(chan error, 1)
	go func() { cut <- l.cutSome(ctx, rand.New(rand.NewPCG(l.Seed, 2))) }()
	err := l.killSome(ctx)
	return errors.Join(err, <-cut)
}

// cutSome cuts the link of a host at random, and mends it. Not more than half of the time one is cut.
func (l *lab) cutSome(ctx context.Context, chance *rand.Rand) error {
	for range l.Cuts {
		end := l.hosts.wire.ends[chance.IntN(len(l.hosts.wire.ends))]
		long := time.Duration(chance.Int64N(int64(l.CutFor)))
		if err := pause(ctx, long); err != nil {
			return err
		}
		end.cut.Store(true)
		err := pause(ctx, long)
		end.cut.Store(false)
		if err != nil {
			return err
		}
		l.verdict.Cuts++
	}
	return nil
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
