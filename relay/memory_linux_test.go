package relay_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/relay"
)

const long = 64 << 10 // bytes of a message

// An In before a ring that is full has no more from the server than it may, and takes what it has when there is room.
func TestInBeforeAFullRingIsBounded(t *testing.T) {
	const n, most = 200, 1 << 20
	r := newRig(t, nil)
	p := r.producer("a", shmring.Options{Slots: 4096, SlotSize: 4096})
	for range n {
		require.NoError(t, p.Send(deadline(t), make([]byte, long)))
	}
	out, _ := r.out("a", relay.OutOptions{})
	require.Eventually(t, func() bool { return out.Stats().Messages == n }, within, time.Millisecond)
	in, _ := r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a", InFlightBytes: most,
		Ring: shmring.Options{Slots: 64, SlotSize: 4096}}})
	require.Eventually(t, func() bool { return in.Stats().Messages > 1 }, within, time.Millisecond)
	consumer, err := r.stream("a").Consumer(deadline(t), "d")
	require.NoError(t, err)
	bounded := func() {
		before := in.Stats().Sequence + 1 // it may have taken one more than it has sent
		info, err := consumer.Info(deadline(t))
		require.NoError(t, err)
		if sent := in.Stats().Sequence + 1; sent == before { // else what it sent meanwhile is not counted
			require.LessOrEqual(t, info.Delivered.Stream, before+most/long)
		}
	}
	for range 100 { // the server has time to give more
		bounded()
	}
	require.Less(t, in.Stats().Messages, uint64(8), "the ring is full")
	c := r.consumer("b", shmring.Options{})
	for range n {
		m, err := c.Next(deadline(t))
		require.NoError(t, err)
		require.Equal(t, long, m.Len())
		m.Release()
		bounded()
	}
	require.Zero(t, in.Stats().Fetched+in.Stats().Again)
}

// proxy is a way to a server that can be made to pass nothing back.
type proxy struct {
	l       net.Listener
	to      string
	up      atomic.Int64 // bytes to the server
	mu      sync.Mutex
	free    *sync.Cond
	stalled bool
}

func newProxy(t testing.TB, url string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{l: l, to: strings.TrimPrefix(url, "nats://")}
	p.free = sync.NewCond(&p.mu)
	t.Cleanup(func() { p.stall(false); l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", p.to)
			if err != nil {
				c.Close()
				return
			}
			t.Cleanup(func() { c.Close(); s.Close() })
			go io.Copy(s, io.TeeReader(c, counter{&p.up}))
			go io.Copy(c, gate{s, p})
		}
	}()
	return p
}

func (p *proxy) stall(is bool) {
	p.mu.Lock()
	p.stalled = is
	p.mu.Unlock()
	p.free.Broadcast()
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) { c.n.Add(int64(len(b))); return len(b), nil }

// gate reads nothing on while its proxy is stalled.
type gate struct {
	io.Reader
	p *proxy
}

func (g gate) Read(b []byte) (int, error) {
	n, err := g.Reader.Read(b)
	g.p.mu.Lock()
	for g.p.stalled {
		g.p.free.Wait()
	}
	g.p.mu.Unlock()
	return n, err
}

// An Out whose server does not answer has sent no more than may be under way, takes nothing more from the ring, and
// tells somebody; when the server answers, all is stored, once.
func TestOutBeforeASilentServerIsBounded(t *testing.T) {
	const n, most = 100, 1 << 20
	r := newRig(t, nil)
	way := newProxy(t, r.server.URL())
	nc, err := nats.Connect("nats://"+way.l.Addr().String(), nats.MaxReconnects(-1))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	r.nc, nc = nc, r.nc
	var troubles atomic.Int64
	p := r.producer("a", shmring.Options{Slots: 4096, SlotSize: 4096})
	out, runs := r.out("a", relay.OutOptions{AckTimeout: 100 * time.Millisecond, Common: relay.Common{InFlightBytes: most,
		OnTrouble: func(err error) {
			if err != nil {
				troubles.Add(1)
			}
		}}})
	require.NoError(t, p.Send(deadline(t), make([]byte, long)))
	require.Eventually(t, func() bool { return out.Stats().Messages == 1 }, within, time.Millisecond)
	way.stall(true)
	begin := way.up.Load()
	for range n {
		require.NoError(t, p.Send(deadline(t), make([]byte, long)))
	}
	require.Eventually(t, func() bool { return troubles.Load() > 1 }, within, time.Millisecond)
	sent := way.up.Load() - begin
	require.GreaterOrEqual(t, sent, int64(most-long))
	require.Less(t, sent, int64(most+2*long), "with headers, and what it asks")
	require.EqualValues(t, 1, out.Stats().Messages)
	way.stall(false)
	require.Eventually(t, func() bool { return out.Stats().Messages == n+1 }, within, time.Millisecond)
	runs.stop()
	require.NoError(t, runs.wait(t))
	r.nc = nc
	require.EqualValues(t, n+1, r.stream("a").CachedInfo().State.Msgs)
}

// TestMain is a relay, if it is told so: half, URL, directory.
func TestMain(m *testing.M) {
	what := strings.Fields(os.Getenv("SHMRING_TEST_RELAY"))
	if len(what) != 3 {
		os.Exit(m.Run())
	}
	if err := relayHere(what[0], what[1], what[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// slotsOut are those of the ring that an Out empties: 64 MiB, twice as much as it has on its way.
const slotsOut = 16384

func relayHere(half, url, dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	common := relay.Common{Stream: "a", Ring: shmring.Options{Dir: dir, Slots: 4096, SlotSize: 4096}}
	if half == "out" {
		common.Ring.Slots = slotsOut
		out, err := relay.NewOut(nc, "a", &relay.OutOptions{Common: common})
		if err != nil {
			return err
		}
		return out.Run(ctx)
	}
	in, err := relay.NewIn(nc, "b", &relay.InOptions{Durable: "d", Common: common})
	if err != nil {
		return err
	}
	return in.Run(ctx)
}

// Memory of a relay process with messages of 64 KiB and all defaults: how much of it is its own, and not the ring's, at
// most (looked at each millisecond), while it has nothing to do, under load, and before a server that does not answer
// or a ring that is full.
func BenchmarkMemory(b *testing.B) {
	const n = 4000
	r := newRig(b, nil)
	p := r.producer("a", shmring.Options{Slots: slotsOut, SlotSize: 4096})
	way := newProxy(b, r.server.URL())
	url := "nats://" + way.l.Addr().String()
	child := func(half string) (own func(string)) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SHMRING_TEST_RELAY="+half+" "+url+" "+r.dir)
		cmd.Stderr = os.Stderr
		require.NoError(b, cmd.Start())
		most, stop := watchAnonymous(b, cmd.Process.Pid)
		b.Cleanup(func() { stop(); cmd.Process.Kill(); cmd.Wait() })
		return func(when string) {
			fmt.Fprintf(os.Stderr, "%s, %s: %.0f MiB\n", half, when, float64(most())/1024)
		}
	}
	send := func(k int) {
		for range k {
			require.NoError(b, p.Send(deadline(b), make([]byte, long)))
		}
	}
	stored := func(k uint64) {
		require.Eventually(b, func() bool {
			s, err := r.js().Stream(deadline(b), "a")
			return err == nil && s.CachedInfo().State.LastSeq >= k
		}, within, 10*time.Millisecond)
	}
	out := child("out")
	send(1)
	stored(1)
	out("idle")
	send(n)
	stored(n + 1)
	out("while it relays 4000 messages")
	in := child("in")
	require.Eventually(b, func() bool {
		s, err := shmring.Inspect(deadline(b), "b", &shmring.InspectOptions{Dir: r.dir})
		return err == nil && s.Ring != nil && s.Ring.Queue.Sent > 200
	}, within, 10*time.Millisecond)
	in("before a full ring")
	c := r.consumer("b", shmring.Options{})
	for range n + 1 {
		m, err := c.Next(deadline(b))
		require.NoError(b, err)
		m.Release()
	}
	in("while it relays 4000 messages")
	way.stall(true)
	begin := way.up.Load()
	send(relay.DefaultSentBytes/long + 64)
	time.Sleep(3 * relay.DefaultAckTimeout / 2) // it asks, and is not answered
	sent := way.up.Load() - begin
	require.InDelta(b, relay.DefaultSentBytes, sent, 2*long, "all that may be on its way")
	out("before a silent server")
}

// watchAnonymous looks each millisecond how much memory a process has for itself, until stop. most is the most
// since it was asked before, in KiB.
func watchAnonymous(b *testing.B, pid int) (most func() int64, stop func()) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	var seen atomic.Int64
	look := func() (there bool) {
		text, err := os.ReadFile(path)
		if err != nil {
			b.Error(err)
			return false
		}
		kib := int64(0)
		if _, rest, found := strings.Cut(string(text), "\nRssAnon:"); found {
			fmt.Sscanf(rest, "%d kB", &kib)
		}
		for before := seen.Load(); kib > before && !seen.CompareAndSwap(before, kib); before = seen.Load() {
		}
		return true
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for look() {
			select {
			case <-tick.C:
			case <-end:
				return
			}
		}
	}()
	most = func() int64 {
		look()
		require.NotZero(b, seen.Load(), "no RssAnon in %s", path)
		return seen.Swap(0)
	}
	return most, func() { close(end); <-ended }
}
