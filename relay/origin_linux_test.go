package relay

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// whole is a message with an origin before it.
func whole(s source, e entry) []byte {
	b := make([]byte, OriginLength(len(s.name)))
	putOrigin(b, &s, &e)
	return append(b, e.data...)
}

func TestSplitOrigin(t *testing.T) {
	e := entry{position: shmring.Position{Record: 1<<64 - 1, Index: 1<<32 - 1}, producer: 255, redelivered: true}
	for n := range 20 {
		s := source{true, [16]byte{1, 15: 2}, strings.Repeat("n", n)}
		e.data = bytes.Repeat([]byte("d"), n)
		m := whole(s, e)
		require.Zero(t, OriginLength(n)%8)
		o, payload, err := SplitOrigin(m)
		require.NoError(t, err)
		require.Equal(t, Origin{true, []byte(s.name), s.ring, e.position, 255, true}, o)
		require.Equal(t, string(e.data), string(payload))
		require.Zero(t, testing.AllocsPerRun(10, func() { SplitOrigin(m) }))
	}
	o, payload, err := SplitOrigin(whole(source{}, entry{data: []byte("x")}))
	require.NoError(t, err)
	require.Equal(t, Origin{Name: []byte{}}, o, "of a program that is no relay")
	require.Equal(t, "x", string(payload))
}

// What no In has put there is an error, however short.
func TestSplitOriginOfWhatIsNone(t *testing.T) {
	m := whole(source{true, [16]byte{1}, "abc"}, entry{})
	for n := range m {
		_, _, err := SplitOrigin(m[:n])
		require.ErrorIs(t, err, ErrWire, n)
	}
	for _, at := range []int{0, 1, 2, 3, 6, 7, 36, 39} {
		bad := bytes.Clone(m)
		bad[at] ^= 0x80
		_, _, err := SplitOrigin(bad)
		require.ErrorIs(t, err, ErrWire, at)
	}
	_, _, err := SplitOrigin([]byte("hello"))
	require.EqualError(t, err, `relay: the origin before a message is "68656c6c6f, 5 bytes, which is too short", which `+
		"no relay writes")
}

func FuzzSplitOrigin(f *testing.F) {
	f.Add(whole(source{true, [16]byte{1}, "abc"}, entry{data: []byte("x")}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, m []byte) {
		o, payload, err := SplitOrigin(m)
		if err != nil {
			require.ErrorIs(t, err, ErrWire)
			return
		}
		again := whole(source{o.Relayed, o.Ring, string(o.Name)}, entry{position: o.Position, producer: o.Producer,
			redelivered: o.Redelivered, data: payload})
		require.Len(t, again, len(m))
		padding := originFixed + len(o.Name)
		require.Equal(t, again[:padding], m[:padding])
		require.Equal(t, again[len(m)-len(payload):], payload)
	})
}

// withForeign is a connection to a server with a stream "other" that has a message of no relay.
func withForeign(ctx context.Context, t *testing.T) *nats.Conn {
	nc, js, _ := served(ctx, t, jetstream.StreamConfig{Name: "other", Subjects: []string{"other"}})
	_, err := js.Publish(ctx, "other", []byte("of no relay"))
	require.NoError(t, err)
	return nc
}

// Many hosts into one ring: each message says which host, ring, position and producer it is of, packed or not; and one
// of another program that it is of none.
func TestOriginsOfManyRings(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nc := withForeign(ctx, t)
	ring := shmring.Options{Dir: t.TempDir()}
	run := func(run func(context.Context) error) {
		runs, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- run(runs) }()
		t.Cleanup(func() { stop(); require.NoError(t, <-done) })
	}
	in := func(stream string) {
		o := ring
		o.Kind = shmring.KindMPSC
		i, err := NewIn(nc, "all", &InOptions{Origin: true, Durable: "d-" + stream, Common: Common{Stream: stream, Ring: o}})
		require.NoError(t, err)
		run(i.Run)
	}
	const n = 50
	uuids := map[string][16]byte{}
	for k, name := range []string{"a", "b"} {
		o := ring
		o.Kind = []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC}[k]
		p, err := shmring.OpenProducer(ctx, name, &o)
		require.NoError(t, err)
		t.Cleanup(func() { p.Close() })
		for i := range n {
			require.NoError(t, p.SendKind(ctx, fmt.Append(nil, name, i), uint16(i)))
		}
		uuids["host-"+name] = p.Info().UUID
		out, err := NewOut(nc, name, &OutOptions{Origin: "host-" + name, Pack: k == 1, Common: Common{Ring: ring}})
		require.NoError(t, err)
		run(out.Run)
		in(name)
	}
	in("other")
	c, err := shmring.OpenConsumer(ctx, "all", &ring)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	next, last := map[string]int{}, map[string]shmring.Position{}
	for range 2*n + 1 {
		m, err := c.Next(ctx)
		require.NoError(t, err)
		o, payload, err := SplitOrigin(m.Bytes())
		require.NoError(t, err)
		name := string(o.Name)
		if !o.Relayed {
			require.Equal(t, "of no relay", string(payload))
		} else {
			require.Equal(t, fmt.Sprint(strings.TrimPrefix(name, "host-"), next[name]), string(payload))
			require.EqualValues(t, next[name], m.Kind())
			require.Equal(t, uuids[name], o.Ring)
			require.True(t, next[name] == 0 || last[name].Compare(o.Position) < 0)
			require.False(t, o.Redelivered)
		}
		next[name]++
		last[name] = o.Position
		m.Release()
	}
	require.Equal(t, map[string]int{"host-a": n, "host-b": n, "": 1}, next)
}

// Headers that no relay has written are an error where the origin is wanted, and nobody's business else.
func TestOriginOfOtherHeaders(t *testing.T) {
	id := strings.Repeat("0", 32)
	for _, from := range []Sender{
		{Ring: "x"},
		{Ring: id + "00"},
		{Ring: strings.Repeat("x", 32)},
		{Ring: id, Origin: strings.Repeat("n", 1<<16)},
	} {
		i := &In{o: &InOptions{Origin: true}}
		_, err := i.sourceOf(&from)
		require.ErrorIs(t, err, ErrWire)
		i.o.Origin = false
		_, err = i.sourceOf(&from)
		require.NoError(t, err)
	}
}
