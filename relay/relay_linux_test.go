package relay_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"github.com/shmring/shmring/relay/embed"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/relay"
)

// A ring on one host comes out of a ring on another: every byte, in order, once, with its kind and its end.
func TestRingToRing(t *testing.T) {
	for _, pack := range []bool{false, true} {
		for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
			t.Run(fmt.Sprintf("pack=%v/%v", pack, kind), func(t *testing.T) {
				r := newRig(t, nil)
				const n = 3000
				p := r.producer("a", shmring.Options{Kind: kind, Slots: 256})
				out, outRuns := r.out("a", relay.OutOptions{Pack: pack, UntilEnd: true, Common: relay.Common{Stream: "S"}})
				in, inRuns := r.in("b", relay.InOptions{UntilEnd: true, Durable: "d",
					Common: relay.Common{Stream: "S", Ring: shmring.Options{Kind: kind, Slots: 128}}})
				c := r.consumer("b", shmring.Options{})
				go produce(t, p, 0, n)
				consume(t, c, 0, n)
				require.NoError(t, p.Close())
				consumeEnd(t, c, io.EOF)
				require.NoError(t, outRuns.wait(t))
				require.NoError(t, inRuns.wait(t))
				require.EqualValues(t, n, out.Stats().Messages)
				require.EqualValues(t, n, in.Stats().Messages)
				require.Zero(t, out.Stats().Skipped)
				require.Zero(t, in.Stats().Again+in.Stats().Fetched)
				if pack {
					require.Less(t, out.Stats().Stored, uint64(n))
				} else {
					require.EqualValues(t, n+2, out.Stats().Stored, "with an end, and the end of all")
				}
			})
		}
	}
}

// How each stream ended arrives behind its last message, and before what comes next.
func TestEndsAreRelayedAsWhatTheyAre(t *testing.T) {
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
		t.Run(kind.String(), func(t *testing.T) {
			r := newRig(t, nil)
			o := shmring.Options{Kind: kind}
			common := relay.Common{Stream: "S"}
			p := r.producer("a", o)
			r.out("a", relay.OutOptions{Common: common})
			common.Ring = o
			r.in("b", relay.InOptions{Common: common, Durable: "d"})
			c := r.consumer("b", shmring.Options{})
			produce(t, p, 0, 5)
			require.NoError(t, p.EndSend(shmring.FateDied)) // as whoever finds one dead has it
			require.NoError(t, p.Close())
			p = r.producer("a", o)
			produce(t, p, 5, 9)
			require.NoError(t, p.FailSend())
			require.NoError(t, p.Close())
			consume(t, c, 0, 5)
			consumeEnd(t, c, shmring.ErrPeerDead)
			consume(t, c, 5, 9)
			consumeEnd(t, c, shmring.ErrFailed)
			if kind == shmring.KindMPSC { // where a failure is an end too
				consumeEnd(t, c, io.EOF)
			}
			o.KeepStream = true
			p = r.producer("a", o)
			produce(t, p, 9, 10)
			require.NoError(t, p.Close()) // left: whoever comes goes on
			o.KeepStream = false
			p = r.producer("a", o)
			produce(t, p, 10, 12)
			require.NoError(t, p.Close())
			consume(t, c, 9, 12)
			consumeEnd(t, c, io.EOF)
		})
	}
}

// One ring to many hosts, and many rings to one.
func TestFanOutAndFanIn(t *testing.T) {
	r := newRig(t, nil)
	const n = 500
	out := func(ring string) *running {
		_, runs := r.out(ring, relay.OutOptions{UntilEnd: true})
		return runs
	}
	in := func(ring, stream, durable string, kind shmring.Kind) *running {
		_, runs := r.in(ring, relay.InOptions{UntilEnd: true, Durable: durable,
			Common: relay.Common{Stream: stream, Ring: shmring.Options{Kind: kind}}})
		return runs
	}
	a, b := r.producer("a", shmring.Options{}), r.producer("b", shmring.Options{})
	all := []*running{out("a"), out("b"),
		in("copy1", "a", "one", shmring.KindSPSC), in("copy2", "a", "two", shmring.KindSPSC),
		in("both", "a", "three", shmring.KindMPSC), in("both", "b", "four", shmring.KindMPSC)}
	go produce(t, a, 0, n)
	go produce(t, b, 1000, 1000+n)
	for _, ring := range []string{"copy1", "copy2"} {
		consume(t, r.consumer(ring, shmring.Options{}), 0, n)
	}
	c := r.consumer("both", shmring.Options{})
	next := map[int]int{} // of each producer
	for range 2 * n {
		m, err := c.Next(deadline(t))
		require.NoError(t, err)
		number := int(binary.LittleEndian.Uint64(m.Bytes()))
		if _, known := next[m.Producer()]; !known {
			next[m.Producer()] = number / 1000 * 1000
		}
		require.Equal(t, next[m.Producer()], number, "in order, of each host")
		next[m.Producer()]++
		m.Release()
	}
	require.Len(t, next, 2)
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	for _, runs := range all {
		require.NoError(t, runs.wait(t))
	}
}

// What a relay that was asked to end has taken is stored and released, and nothing else is touched.
func TestCleanStopDrains(t *testing.T) {
	r := newRig(t, nil)
	p := r.producer("a", shmring.Options{})
	produce(t, p, 0, 100)
	out, runs := r.out("a", relay.OutOptions{})
	require.Eventually(t, func() bool { return out.Stats().Messages > 0 }, within, time.Millisecond)
	runs.stop()
	require.NoError(t, runs.wait(t))
	require.Equal(t, 100, int(out.Stats().Messages)+len(remaining(t, r, "a")))
	out2, runs2 := r.out("b", relay.OutOptions{}) // waits for a ring that nobody makes
	runs2.stop()
	require.NoError(t, runs2.wait(t))
	require.Zero(t, out2.Stats().Stored)
}

// remaining is what is in a ring.
func remaining(t *testing.T, r *rig, name string) (all [][]byte) {
	c := r.consumer(name, shmring.Options{})
	_, err := c.TryDrain(0, func(m shmring.Message) error {
		require.False(t, m.Redelivered())
		all = append(all, bytes.Clone(m.Bytes()))
		return nil
	})
	if err != shmring.ErrEmpty {
		require.NoError(t, err)
	}
	require.NoError(t, c.Close())
	return all
}

// A ring that is removed while its relay waits is relayed to its end, and the one that is made in its
// place from its beginning, though its positions are the same. The server's window for duplicates does not take it for
// the one before.
func TestRingMadeAnew(t *testing.T) {
	r := newRig(t, nil)
	p := r.producer("a", shmring.Options{})
	out, _ := r.out("a", relay.OutOptions{MessageIDs: true, Common: relay.Common{Stream: "S"}})
	r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "S"}})
	c := r.consumer("b", shmring.Options{})
	produce(t, p, 0, 10)
	consume(t, c, 0, 10)
	require.Eventually(t, func() bool { return out.Stats().Messages == 10 }, within, time.Millisecond)
	require.NoError(t, os.Remove(filepath.Join(r.dir, "a.shmring")))
	require.ErrorIs(t, p.Close(), shmring.ErrOrphaned)
	p = r.producer("a", shmring.Options{})
	produce(t, p, 10, 20)
	m, err := c.Next(deadline(t))
	if err == io.EOF { // the end of the first ring's stream, if the relay got it before it saw that the ring is gone
		m, err = c.Next(deadline(t))
	}
	require.NoError(t, err)
	require.EqualValues(t, 10, binary.LittleEndian.Uint64(m.Bytes()))
	m.Release()
	consume(t, c, 11, 20)
}

// A server that goes and comes again is waited for, and told of.
func TestServerRestarts(t *testing.T) {
	store := t.TempDir()
	s, err := embed.Start(deadline(t), store, nil)
	require.NoError(t, err)
	r := &rig{t: t, dir: t.TempDir(), server: s}
	r.nc = r.connect()
	var troubles, over atomic.Int64
	common := relay.Common{Stream: "S", OnTrouble: func(err error) {
		if err == nil {
			over.Add(1)
			return
		}
		troubles.Add(1)
	}}
	p := r.producer("a", shmring.Options{})
	r.out("a", relay.OutOptions{Common: common, AckTimeout: time.Second})
	r.in("b", relay.InOptions{Common: relay.Common{Stream: "S"}, Durable: "d"})
	c := r.consumer("b", shmring.Options{})
	listen := strings.TrimPrefix(s.URL(), "nats://")
	for round := range 3 {
		produce(t, p, round*200, round*200+100)
		consume(t, c, round*200, round*200+100)
		s.Close()
		produce(t, p, round*200+100, round*200+200)
		s, err = embed.Start(deadline(t), store, &embed.Options{Listen: listen})
		require.NoError(t, err)
		consume(t, c, round*200+100, round*200+200)
	}
	s.Close()
	require.Equal(t, troubles.Load() > 0, over.Load() > 0)
}

// An In that ends in the middle of a packed message, because its ring is full, goes on there.
func TestInEndsInsideOfAPack(t *testing.T) {
	r := newRig(t, nil)
	p := r.producer("a", shmring.Options{})
	produce(t, p, 0, 60)
	out, _ := r.out("a", relay.OutOptions{Pack: true})
	require.Eventually(t, func() bool { return out.Stats().Messages == 60 }, within, time.Millisecond)
	require.Less(t, out.Stats().Stored, uint64(10))
	o := relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a"}}
	o.Ring = shmring.Options{Kind: shmring.KindMPSC, Slots: 8, SlotSize: 448} // of slots, so that few fit
	for sent := 0; sent < 60; {
		in, runs := r.in("b", o)
		want := min(8, 60-sent)
		require.Eventually(t, func() bool { return in.Stats().Messages == uint64(want) }, within, time.Millisecond)
		runs.stop()
		require.NoError(t, runs.wait(t))
		require.EqualValues(t, want, in.Stats().Messages, "as many as fit")
		c := r.consumer("b", shmring.Options{})
		consume(t, c, sent, sent+want)
		require.NoError(t, c.Close())
		sent += want
	}
}

// What is not in the ring is not acknowledged, however soon it came: the server keeps what was not acknowledged.
func TestNothingIsAcknowledgedBeforeItIsSent(t *testing.T) {
	r := newRig(t, nil)
	p := r.producer("a", shmring.Options{})
	produce(t, p, 0, 20)
	out, _ := r.out("a", relay.OutOptions{})
	require.Eventually(t, func() bool { return out.Stats().Messages == 20 }, within, time.Millisecond)
	o := relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a"}}
	o.Ring = shmring.Options{Kind: shmring.KindMPSC, Slots: 8, SlotSize: 448}
	in, runs := r.in("b", o)
	require.Eventually(t, func() bool { return in.Stats().Messages == 8 }, within, time.Millisecond)
	runs.stop() // with the ninth in its hand
	require.NoError(t, runs.wait(t))
	cons, err := r.js().Consumer(deadline(t), "a", "d")
	require.NoError(t, err)
	floor := func() uint64 {
		info, err := cons.Info(deadline(t))
		require.NoError(t, err)
		return info.AckFloor.Stream
	}
	require.Eventually(t, func() bool { return floor() >= 8 }, within, time.Millisecond)
	require.EqualValues(t, 8, floor())
}

// The newest message of a work queue stays, so that an Out finds what it goes on behind; and only that.
func TestNewestStaysInAWorkQueue(t *testing.T) {
	r := newRig(t, nil)
	p := r.producer("a", shmring.Options{})
	for round := range 2 {
		out, outRuns := r.out("a", relay.OutOptions{Create: &jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}})
		produce(t, p, 10*round, 10*round+10)
		_, inRuns := r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a"}})
		c := r.consumer("b", shmring.Options{})
		consume(t, c, 10*round, 10*round+10)
		require.NoError(t, c.Close())
		require.Eventually(t, func() bool { return out.Stats().Messages == 10 }, within, time.Millisecond)
		for _, runs := range []*running{outRuns, inRuns} {
			runs.stop()
			require.NoError(t, runs.wait(t))
		}
		if round > 0 {
			break // the one that the first In has held comes again only when the server has waited for it
		}
		left := func() uint64 { return r.stream("a").CachedInfo().State.Msgs }
		require.Eventually(t, func() bool { return left() <= 1 }, within, time.Millisecond)
		require.EqualValues(t, 1, left())
	}
}
