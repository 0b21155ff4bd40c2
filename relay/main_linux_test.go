package relay_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/relay"
	"github.com/shmring/shmring/relay/embed"
)

// within bounds every blocking call of a test.
const within = 60 * time.Second

// soon bounds a wait for what is there at once, or never: who has broken it has not to wait for so long to see it.
const soon = 15 * time.Second

func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	return ctx
}

// rig is a server and a directory for rings.
type rig struct {
	t      testing.TB
	dir    string
	store  string // of the server
	server *embed.Server
	nc     *nats.Conn
}

func newRig(t testing.TB, o *embed.Options) *rig {
	t.Helper()
	store := t.TempDir()
	s, err := embed.Start(deadline(t), store, o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	r := &rig{t: t, dir: t.TempDir(), store: store, server: s}
	r.nc = r.connect()
	return r
}

// close ends a rig before its test does, and gives back the room of its files: what is measured behind it has as much.
func (r *rig) close() {
	r.nc.Close()
	r.server.Close()
	require.NoError(r.t, errors.Join(os.RemoveAll(r.store), os.RemoveAll(r.dir)))
}

func (r *rig) connect(o ...nats.Option) *nats.Conn {
	r.t.Helper()
	nc, err := nats.Connect(r.server.URL(), append(o, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))...)
	require.NoError(r.t, err)
	r.t.Cleanup(nc.Close)
	return nc
}

func (r *rig) ring(o shmring.Options) shmring.Options { o.Dir = r.dir; return o }

func (r *rig) producer(name string, o shmring.Options) *shmring.Producer {
	r.t.Helper()
	o = r.ring(o)
	p, err := shmring.OpenProducer(deadline(r.t), name, &o)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { p.Close() })
	return p
}

func (r *rig) consumer(name string, o shmring.Options) *shmring.Consumer {
	r.t.Helper()
	o = r.ring(o)
	c, err := shmring.OpenConsumer(deadline(r.t), name, &o)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { c.Close() })
	return c
}

// running is a relay that runs.
type running struct {
	stop context.CancelFunc
	done chan error
}

func start(t testing.TB, run func(context.Context) error) *running {
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{cancel, make(chan error, 1)}
	go func() { r.done <- run(ctx) }()
	t.Cleanup(cancel)
	return r
}

func (r *running) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(within):
		require.FailNow(t, "a relay does not end")
		return nil
	}
}

func (r *rig) out(ring string, o relay.OutOptions) (*relay.Out, *running) {
	r.t.Helper()
	o.Common.Ring.Dir = r.dir
	out, err := relay.NewOut(r.nc, ring, &o)
	require.NoError(r.t, err)
	return out, start(r.t, out.Run)
}

func (r *rig) in(ring string, o relay.InOptions) (*relay.In, *running) {
	r.t.Helper()
	o.Common.Ring.Dir = r.dir
	in, err := relay.NewIn(r.nc, ring, &o)
	require.NoError(r.t, err)
	return in, start(r.t, in.Run)
}

// numbered is message n of a kind and a length that follow from n.
func numbered(n int) ([]byte, uint16) {
	b := make([]byte, 8+n*7919%400)
	binary.LittleEndian.PutUint64(b, uint64(n))
	for i := 8; i < len(b); i++ {
		b[i] = byte(n + i)
	}
	return b, uint16(n * 31)
}

func produce(t testing.TB, p *shmring.Producer, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		b, kind := numbered(n)
		require.NoError(t, p.SendKind(deadline(t), b, kind))
	}
}

// consume takes messages from..to, and holds them to be those.
func consume(t testing.TB, c *shmring.Consumer, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		m, err := c.Next(deadline(t))
		require.NoError(t, err, "message %d", n)
		b, kind := numbered(n)
		require.Equal(t, b, m.Bytes(), "message %d", n)
		require.Equal(t, kind, m.Kind(), "message %d", n)
		m.Release()
	}
}

func consumeEnd(t testing.TB, c *shmring.Consumer, want error) {
	t.Helper()
	_, err := c.Next(deadline(t))
	if want == io.EOF {
		require.Equal(t, io.EOF, err)
		return
	}
	require.ErrorIs(t, err, want)
}
