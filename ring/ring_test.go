package ring_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Every size that is the last of one way and the first of another, at every slot of
// the smallest ring, by every way to send and to receive.
func TestSizesAtEverySlot(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, slotSize := range []int{0, 64, 256} {
			largest := max(layout.InlineSize, layout.MinSlots*slotSize)
			sizes := []int{0, 1, 47, 48, 49, slotSize - 1, slotSize, slotSize + 1, 3*slotSize + 5, largest - 1, largest}
			sizes = slices.DeleteFunc(sizes, func(n int) bool { return n < 0 || n > largest })
			for at := range layout.MinSlots {
				r := newRig(layout.Config{Slots: layout.MinSlots, SlotSize: slotSize})
				p, c := r.producer(), r.consumer()
				buf := make([]byte, largest)
				for range at {
					require.NoError(t, p.TrySend(nil))
					_, err := c.TryReceive(buf)
					require.NoError(t, err)
				}
				for i, n := range sizes {
					for way := range 3 {
						_, err := c.TryReceive(buf)
						require.ErrorIs(t, err, ring.ErrEmpty)
						want := message(uint64(at), uint64(i), n)
						sendWay(t, p, want, way, c)
						require.Equal(t, want, receiveWay(t, c, way), "%d bytes, slot size %d, from slot %d, way %d", n, slotSize, at,
							way)
					}
				}
				require.ErrorIs(t, p.TrySend(make([]byte, largest+1)), ring.ErrTooLarge)
			}
		}
	})
}

// sendWay sends one message. It may not fit before the consumer has passed the
// padding that the attempt leaves, and then must.
func sendWay(t *testing.T, p *producer, msg []byte, way int, c *consumer) {
	try := func() error {
		switch way {
		case 0:
			return p.TrySendKind(msg, 7)
		case 1:
			claim, err := p.TryClaim(len(msg))
			if err != nil {
				return err
			}
			defer claim.Abort()
			require.Len(t, claim.Bytes(), len(msg))
			copy(claim.Bytes(), msg)
			claim.SetKind(7)
			return claim.Commit()
		default:
			claim, err := p.TryClaim(p.MaxMessage())
			if err != nil {
				return err
			}
			defer claim.Abort()
			copy(claim.Bytes(), msg)
			claim.Shorten(len(msg))
			claim.SetKind(7)
			return claim.Commit()
		}
	}
	err := try()
	if err == ring.ErrFull {
		_, err = c.TryReceive(nil)
		require.ErrorIs(t, err, ring.ErrEmpty)
		err = try()
	}
	require.NoError(t, err)
}

func receiveWay(t *testing.T, c *consumer, way int) []byte {
	switch way {
	case 0:
		buf := make([]byte, c.MaxMessage())
		n, err := c.TryReceive(buf)
		require.NoError(t, err)
		return buf[:n]
	case 1:
		m, err := c.TryNext()
		require.NoError(t, err)
		require.EqualValues(t, 7, m.Kind())
		require.Equal(t, 1, m.Producer())
		defer m.Release()
		return slices.Clone(m.Bytes())
	default:
		var got []byte
		n, err := c.Drain(soon(t), 1, func(m ring.Message) error {
			got = append([]byte{}, m.Bytes()...)
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		return got
	}
}

// A full ring refuses, loses nothing, and takes exactly as many as it has slots.
func TestFull(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 16, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		room := 16
		if r.cfg.Kind == layout.SPSC {
			room = int(r.cfg.Area()/16) - 1 // a word is left, and room for a message of nothing
		}
		for round := range 40 {
			for i := range room {
				require.NoError(t, p.TrySend([]byte{byte(round), byte(i)}))
			}
			require.Equal(t, 16, p.Used())
			require.ErrorIs(t, p.TrySend([]byte{1}), ring.ErrFull)
			_, err := p.TryClaim(1)
			require.ErrorIs(t, err, ring.ErrFull)
			n, err := p.TrySendBatch([][]byte{{1}, {2}})
			require.ErrorIs(t, err, ring.ErrFull)
			require.Zero(t, n)
			for i := range room {
				buf := make([]byte, 2)
				n, err := c.TryReceive(buf)
				require.NoError(t, err)
				require.Equal(t, []byte{byte(round), byte(i)}, buf[:n])
			}
			_, err = c.TryReceive(nil)
			require.ErrorIs(t, err, ring.ErrEmpty)
			require.Zero(t, c.Used())
		}
	})
}

// Positions start just below every place where some part of a word turns over, and
// messages of mixed sizes go across it, pads and batches included.
func TestAcrossEveryWrap(t *testing.T) {
	const slots = 16
	starts := map[string]uint64{
		"2^32 slots":            1<<32 - 5,
		"2^44 slots (Tail.pos)": 1<<44 - 5,
		"2^32 laps (renewal)":   1<<32*slots - 40,
		"2^42 laps (Ctl.lap)":   1<<42*slots - 40,
		"2^64 slots":            1<<64 - 40,
	}
	ops := 200_000
	if testing.Short() || raceEnabled {
		ops = 20_000
	}
	for name, start := range starts {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
				r := newRig(layout.Config{Slots: slots, SlotSize: 64, Start: start})
				p, c := r.producer(), r.consumer()
				rng := rand.New(rand.NewPCG(start, 1))
				buf := make([]byte, p.MaxMessage())
				var sent, got uint64
				for range ops {
					if rng.IntN(2) == 0 {
						n := rng.IntN(64 * 5)
						if err := p.TrySend(stamped(1, sent, n)); err == nil {
							sent++
						} else {
							require.ErrorIs(t, err, ring.ErrFull)
						}
						continue
					}
					n, err := c.TryReceive(buf)
					if err == ring.ErrEmpty {
						require.Equal(t, sent, got, "empty while messages are in")
						continue
					}
					require.NoError(t, err)
					_, seq := unstamp(t, buf[:n])
					require.Equal(t, got, seq)
					got++
				}
				require.Greater(t, got, uint64(ops/8))
			})
		})
	}
}

// Several goroutines send through several producers, one goroutine receives; every
// message arrives once, whole, in its sender's order.
func TestStream(t *testing.T) {
	for _, spin := range []bool{false, true} {
		each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
			r := newRig(layout.Config{Slots: 64, SlotSize: 128})
			r.cap = heldUp
			if spin {
				r.spin = ring.SpinForever
			}
			senders, each := 1, 20_000
			if r.cfg.Kind == layout.MPSC {
				senders = 4
			}
			if spin || testing.Short() || raceEnabled {
				each = 2000
			}
			ctx := soon(t)
			c := r.consumer()
			var wg sync.WaitGroup
			shared := r.producer() // two goroutines of one process have it
			for id := range senders {
				p := shared
				if id > 1 {
					p = r.producer()
				}
				wg.Go(func() { sendStamped(ctx, t, p, id, each) })
			}
			next := make([]uint64, senders)
			var last ring.Position
			count := 0
			check := func(m ring.Message) error {
				id, seq := unstamp(t, m.Bytes())
				require.Equal(t, next[id], seq, "producer %d", id)
				next[id]++
				require.True(t, count == 0 || m.Position().Compare(last) > 0, "%v after %v", m.Position(), last)
				last = m.Position()
				require.False(t, m.Redelivered())
				count++
				return nil
			}
			for count < senders*each {
				if count%2 == 0 {
					_, err := c.Drain(ctx, 50, check)
					require.NoError(t, err)
				} else {
					m, err := c.Next(ctx)
					require.NoError(t, err)
					check(m)
					m.Release()
				}
			}
			wg.Wait()
			_, err := c.TryNext()
			require.ErrorIs(t, err, ring.ErrEmpty)
			require.Zero(t, c.Used())
			require.Zero(t, c.Stats().TimeoutWakeups)
			require.Zero(t, shared.Stats().TimeoutWakeups)
			if spin {
				// Bells are the only system calls there are, and nobody rang or slept.
				for _, s := range []ring.Stats{c.Stats(), shared.Stats()} {
					require.Zero(t, s.Sleeps)
					require.Zero(t, s.Wakes)
				}
			}
		})
	}
}

// sendStamped sends so many messages in every way there is.
func sendStamped(ctx context.Context, t *testing.T, p *producer, id, each int) {
	rng := rand.New(rand.NewPCG(uint64(id), 2))
	for seq := 0; seq < each; {
		switch rng.IntN(4) {
		case 0:
			var batch [][]byte
			for range min(1+rng.IntN(20), each-seq) {
				batch = append(batch, stamped(uint64(id), uint64(seq), rng.IntN(100)))
				seq++
			}
			n, err := p.SendBatch(ctx, batch)
			if err != nil || n != len(batch) {
				t.Errorf("batch: %d of %d, %v", n, len(batch), err)
				return
			}
		case 1:
			msg := stamped(uint64(id), uint64(seq), rng.IntN(1000))
			claim, err := p.Claim(ctx, len(msg)+rng.IntN(100))
			if err != nil {
				t.Error(err)
				return
			}
			copy(claim.Bytes(), msg)
			claim.Shorten(len(msg))
			if rng.IntN(8) == 0 {
				claim.Abort()
				continue
			}
			if err := claim.Commit(); err != nil {
				t.Error(err)
				return
			}
			seq++
		default:
			if err := p.Send(ctx, stamped(uint64(id), uint64(seq), rng.IntN(400))); err != nil {
				t.Error(err)
				return
			}
			seq++
		}
	}
}

func TestBatchIsOneRecord(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 16, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		var msgs [][]byte
		for i := range 30 {
			msgs = append(msgs, message(1, uint64(i), i%20))
		}
		n, err := p.TrySendBatch(msgs)
		require.NoError(t, err)
		require.Equal(t, len(msgs), n)
		require.Less(t, p.Used(), len(msgs)/2, "packed")
		var records []uint64
		for i := range msgs {
			m, err := c.TryNext()
			require.NoError(t, err)
			require.Equal(t, msgs[i], append([]byte{}, m.Bytes()...))
			if k := len(records); k == 0 || records[k-1] != m.Position().Record {
				records = append(records, m.Position().Record)
				require.Zero(t, m.Position().Index)
			}
			m.Release()
		}
		_, err = c.TryNext()
		require.ErrorIs(t, err, ring.ErrEmpty)
		require.Zero(t, c.Used())

		n, err = p.TrySendBatch(nil)
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = p.TrySendBatch([][]byte{{1}, make([]byte, p.MaxMessage()+1), {2}})
		require.ErrorIs(t, err, ring.ErrTooLarge)
		require.Equal(t, 1, n, "what came before the message that can never be sent")
	})
}

// On an SPSC ring a batch is many messages, each with a position of its own.
func TestBatchIsManyMessages(t *testing.T) {
	eachMemory(t, layout.SPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 64, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		for round := range 100 {
			var msgs [][]byte
			var want []uint64
			at := uint64(0)
			for i := range 30 {
				msgs = append(msgs, message(1, uint64(i), (i*round)%20))
				want = append(want, at)
				at += uint64(8 + (len(msgs[i])+7)&^7)
			}
			n, err := p.TrySendBatch(msgs)
			require.NoError(t, err)
			require.Equal(t, len(msgs), n)
			var first uint64
			for i := range msgs {
				m, err := c.TryNext()
				require.NoError(t, err)
				require.Equal(t, msgs[i], append([]byte{}, m.Bytes()...))
				if i == 0 {
					first = m.Position().Record
				}
				require.Zero(t, m.Position().Index)
				if m.Position().Record-first != want[i] { // behind padding
					require.Zero(t, m.Position().Record%uint64(r.cfg.Area()))
					first = m.Position().Record - want[i]
				}
				m.Release()
			}
			_, err = c.TryNext()
			require.ErrorIs(t, err, ring.ErrEmpty)
			require.Zero(t, c.Used())
		}
		n, err := p.TrySendBatch(nil)
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = p.TrySendBatch([][]byte{{1}, make([]byte, p.MaxMessage()+1), {2}})
		require.ErrorIs(t, err, ring.ErrTooLarge)
		require.Equal(t, 1, n, "what came before the message that can never be sent")
	})
}

func TestClaimAbort(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		for range 30 {
			claim, err := p.TryClaim(100)
			require.NoError(t, err)
			claim.Abort()
			claim.Abort()
			require.NoError(t, claim.Commit(), "after Abort it does nothing")
			claim, err = p.TryClaim(10)
			require.NoError(t, err)
			copy(claim.Bytes(), "0123456789")
			require.NoError(t, claim.Commit())
			claim.Abort()
			require.Equal(t, "0123456789", string(receiveWay(t, c, 0)))
			_, err = c.TryNext()
			require.ErrorIs(t, err, ring.ErrEmpty)
			require.Zero(t, c.Used())
		}
		require.Panics(t, func() { p.TryClaim(-1) })
		claim, err := p.TryClaim(5)
		require.NoError(t, err)
		require.Panics(t, func() { claim.Shorten(6) })
		require.Panics(t, func() { claim.Shorten(-1) })
		if r.cfg.Kind == layout.SPSC {
			require.Panics(t, func() { p.TrySend(nil) }, "an SPSC producer has one claim at a time")
		}
	})
}

func TestClaimCopy(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 64, SlotSize: 1024})
		p, c := r.producer(), r.consumer()
		msg := make([]byte, 5000)
		for i := range msg {
			msg[i] = byte(i%251) + 1
		}
		for _, n := range []int{0, 1, 100, 3000, 5000} {
			claim, err := p.TryClaim(n)
			require.NoError(t, err)
			require.Equal(t, n, claim.Copy(msg), "as many as were claimed")
			require.NoError(t, claim.Commit())
			require.Zero(t, claim.Copy(msg), "the claim is finished")
			require.Equal(t, msg[:n], append(msg[:0:0], receiveWay(t, c, 0)...))
			_, err = c.TryNext()
			require.ErrorIs(t, err, ring.ErrEmpty) // which gives the room back
		}
		claim, err := p.TryClaim(3000)
		require.NoError(t, err)
		clear(claim.Bytes())
		require.Equal(t, 2500, claim.Copy(msg[:2500]))
		require.Zero(t, claim.Copy(nil))
		require.NoError(t, claim.Commit())
		require.Equal(t, append(msg[:2500:2500], make([]byte, 500)...), receiveWay(t, c, 0))
	})
}

// A message that does not fit the buffer stays, and says how long it is.
func TestShortBuffer(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		_, err := p.TrySendBatch([][]byte{[]byte("abc"), []byte("defgh")})
		require.NoError(t, err)
		buf := make([]byte, 3)
		n, err := c.TryReceive(buf)
		require.NoError(t, err)
		require.Equal(t, "abc", string(buf[:n]))
		for range 3 {
			n, err = c.TryReceive(buf)
			require.ErrorIs(t, err, io.ErrShortBuffer)
			require.Equal(t, 5, n)
		}
		buf = make([]byte, n)
		_, err = c.TryReceive(buf)
		require.NoError(t, err)
		require.Equal(t, "defgh", string(buf))
		require.EqualValues(t, 2, c.Stats().Messages)
		require.Zero(t, p.Stats().Messages, "others learn when it is flushed")
		c.leave()
	})
}

// What a handler refuses stays next; what it handled does not come again.
func TestDrainError(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		_, err := p.TrySendBatch([][]byte{{0}, {1}, {2}})
		require.NoError(t, err)
		require.NoError(t, p.TrySend([]byte{3}))
		refuse := errors.New("not this one")
		for want := byte(0); want < 4; want++ {
			n, err := c.Drain(soon(t), 0, func(m ring.Message) error {
				require.Equal(t, want, m.Bytes()[0])
				m.Release() // Drain's business, and does nothing
				return refuse
			})
			require.Equal(t, refuse, err)
			require.Zero(t, n)
			n, err = c.Drain(soon(t), 1, func(m ring.Message) error {
				require.Equal(t, want, m.Bytes()[0])
				return nil
			})
			require.NoError(t, err)
			require.Equal(t, 1, n)
		}
		_, err = c.TryNext()
		require.ErrorIs(t, err, ring.ErrEmpty)
		require.Zero(t, c.Used())
	})
}

// Releasing the last message handed out gives back all before it, and the padding
// behind it: a message as large as the ring fits again.
func TestReleaseInOrder(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		msg := func(i int) []byte { return []byte{byte(i)} }
		if r.cfg.Kind == layout.SPSC {
			msg = func(i int) []byte { return eighth(string(rune(i))) }
			// Padding needs room for the word behind it, so not all of the lap may be taken.
			require.NoError(t, p.TrySend(msg(9)))
			require.Equal(t, msg(9), receiveWay(t, c, 0))
			_, err := c.TryNext()
			require.ErrorIs(t, err, ring.ErrEmpty)
		}
		for i := range 6 {
			require.NoError(t, p.TrySend(msg(i)))
		}
		require.ErrorIs(t, p.TrySend(make([]byte, 8*64)), ring.ErrFull, "pads the rest of the lap")
		var out []ring.Message
		for i := range 6 {
			m, err := c.TryNext()
			require.NoError(t, err)
			require.Equal(t, msg(i), m.Bytes())
			out = append(out, m)
		}
		_, err := c.TryNext()
		require.ErrorIs(t, err, ring.ErrEmpty)
		require.Equal(t, 8, c.Used(), "all are out")
		out[2].Release()
		require.Equal(t, 5, c.Used())
		out[1].Release()
		require.Equal(t, 5, c.Used(), "released already")
		out[5].Release()
		require.Zero(t, c.Used())
		require.NoError(t, p.TrySend(make([]byte, 8*64)))
	})
}

func TestEndOfStream(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 16, SlotSize: 64})
		c := r.consumer()
		for range 5 { // one stream after the other through one ring
			p := r.producer()
			require.NoError(t, p.TrySend([]byte("last")))
			require.NoError(t, p.CloseSend())
			require.NoError(t, p.CloseSend())
			require.ErrorIs(t, p.TrySend(nil), ring.ErrEnded)
			_, err := p.TryClaim(1)
			require.ErrorIs(t, err, ring.ErrEnded)
			_, err = p.TrySendBatch([][]byte{{1}, {2}})
			require.ErrorIs(t, err, ring.ErrEnded)
			p.leave()
			buf := make([]byte, 8)
			n, err := c.Receive(soon(t), buf)
			require.NoError(t, err)
			require.Equal(t, "last", string(buf[:n]))
			_, err = c.Receive(soon(t), buf)
			require.Equal(t, io.EOF, err)
			_, err = c.TryReceive(buf)
			require.ErrorIs(t, err, ring.ErrEmpty, "only once")
			require.Zero(t, c.Used())
		}
	})
}

// The end comes after the last producer's, whichever that is, and after every
// message.
func TestEndOfManyStreams(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 64, SlotSize: 64})
		c := r.consumer()
		a, b, d := r.producer(), r.producer(), r.producer()
		require.NoError(t, a.TrySend([]byte("a")))
		require.NoError(t, a.CloseSend())
		a.leave()
		require.Equal(t, "a", string(receiveWay(t, c, 0)))
		_, err := c.TryNext()
		require.ErrorIs(t, err, ring.ErrEmpty, "b and d still stream")

		require.NoError(t, d.TrySend([]byte("d")))
		require.NoError(t, b.CloseSend())
		b.leave()
		require.NoError(t, d.TrySend([]byte("D")))
		require.NoError(t, d.CloseSend())
		d.leave()
		require.Equal(t, "d", string(receiveWay(t, c, 0)))
		require.Equal(t, "D", string(receiveWay(t, c, 0)))
		_, err = c.TryNext()
		require.Equal(t, io.EOF, err)

		// One that leaves without ending its stream, and one that dies, are no reason to
		// wait for them.
		a, b, d = r.producer(), r.producer(), r.producer()
		require.NoError(t, a.CloseSend())
		b.leave()
		d.die()
		_, err = c.Receive(soon(t), make([]byte, 1))
		require.ErrorIs(t, err, ring.ErrPeerDead)
		_, err = c.Receive(soon(t), make([]byte, 1))
		require.Equal(t, io.EOF, err)
		require.EqualValues(t, 1, c.Stats().Deaths)
	})
}

// A consumer that knows how many will come waits for that many ends.
func TestEndOfKnownStreams(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 16, SlotSize: 64})
		_, v, cfg := r.process()
		cfg.ExpectedProducers = 2
		c, err := ring.NewConsumer(v, cfg)
		require.NoError(t, err)
		for range 3 {
			for i := range 2 {
				p := r.producer()
				require.NoError(t, p.CloseSend())
				p.leave()
				_, err = c.TryNext()
				if i == 0 {
					require.ErrorIs(t, err, ring.ErrEmpty)
				} else {
					require.Equal(t, io.EOF, err)
				}
			}
		}
	})
}

// A consumer that expects one producer ends with it, however that ended; one that says nothing
// waits behind a death for the next.
func TestEndOfTheOnlyStream(t *testing.T) {
	ends := map[string]func(p *producer){
		"died 1":   func(*producer) {},
		"failed 1": func(p *producer) { require.NoError(t, p.FailSend()) },
		"":         func(p *producer) { require.NoError(t, p.CloseSend()) },
	}
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, expected := range []int{0, 1} {
			for fate, end := range ends {
				r := newRig(layout.Config{Slots: 16, SlotSize: 64})
				r.expected = expected
				p, c := r.producer(), r.consumer()
				require.NoError(t, p.TrySend([]byte("a")))
				end(p)
				p.die()
				want := []string{"a"}
				if fate != "" {
					want = append(want, fate)
				}
				if expected == 1 || fate == "" || fate == "failed 1" && r.cfg.Kind == layout.MPSC {
					want = append(want, "EOF")
				}
				require.NoError(t, c.Check()) // finds that it is dead, and leaves that to be told in its place
				require.Equal(t, want, tell(t, c), "%d expected, %s", expected, fate)
			}
		}
	})
}

func TestAll(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 16, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		for i := range 5 {
			require.NoError(t, p.TrySend([]byte{byte(i)}))
		}
		require.NoError(t, p.CloseSend())
		var got []byte
		for m, err := range c.All(soon(t)) {
			require.NoError(t, err)
			got = append(got, m.Bytes()...)
			if len(got) == 2 {
				break
			}
		}
		for m, err := range c.All(soon(t)) {
			require.NoError(t, err)
			got = append(got, m.Bytes()...)
		}
		require.Equal(t, []byte{0, 1, 2, 3, 4}, got)
		c.Close()
		for _, err := range c.All(soon(t)) {
			require.ErrorIs(t, err, ring.ErrClosed)
		}
	})
}

func TestRolesAreTaken(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64, Participants: 2})
		c := r.consumer()
		p := r.producer()
		_, v, cfg := r.process()
		_, err := ring.NewConsumer(v, cfg)
		var busy *ring.BusyError
		require.ErrorAs(t, err, &busy)
		require.ErrorIs(t, err, ring.ErrBusy)
		require.Equal(t, 4711, busy.PID, "the error names the holder")
		require.Contains(t, err.Error(), "4711")
		_, err = ring.NewProducer(v, cfg)
		require.ErrorIs(t, err, ring.ErrBusy)
		c.leave()
		p.leave()
		require.False(t, r.consumer().Attachment().TookOver)
		require.EqualValues(t, 2, r.producer().Attachment().Epoch)
	})
}

// A second call on a handle for one goroutine panics while the first is in progress:
// here from inside the function that waiting calls ask, so that there is no chance in
// it.
func TestConcurrentUsePanics(t *testing.T) {
	eachMemory(t, layout.SPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		const text = "shmring: concurrent use of a handle that is for one goroutine at a time"
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		_, v, cfg := r.process()
		done := errors.New("done")

		var c *ring.Consumer
		cfg.Check = func() error {
			for _, call := range []func(){
				func() { c.TryNext() },
				func() { c.TryReceive(nil) },
				func() { c.Drain(t.Context(), 1, nil) },
				func() { c.Check() },
			} {
				require.PanicsWithValue(t, text, call)
			}
			return done
		}
		c, err := ring.NewConsumer(v, cfg)
		require.NoError(t, err)
		require.Equal(t, done, c.Check())

		var p *ring.Producer
		cfg.FirstSleep = time.Millisecond
		cfg.Check = func() error {
			for _, call := range []func(){
				func() { p.TrySend(nil) },
				func() { p.TryClaim(1) },
				func() { p.TrySendBatch([][]byte{{1}, {2}}) },
			} {
				require.PanicsWithValue(t, text, call)
			}
			return done
		}
		p, err = ring.NewProducer(v, cfg)
		require.NoError(t, err)
		for p.TrySend(nil) == nil {
		}
		require.Equal(t, done, p.Send(soon(t), nil))
	})
}

// Messages are told apart by their sender also where all else is alike, and a record like
// those before it but for one thing is looked at: nothing of what a peer writes there passes.
func TestProducersAreTold(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		a, b, c := r.producer(), r.producer(), r.consumer()
		send := func(p *producer, from int) {
			require.NoError(t, p.TrySend([]byte{1}))
			m, err := c.TryNext()
			require.NoError(t, err)
			require.Equal(t, from, m.Producer())
			m.Release()
		}
		for range 20 {
			send(a, 1)
			send(b, 2)
			send(b, 2)
		}
	})
	usual := layout.PackCtl(0, 1, 1, layout.Committed)
	for name, word := range map[string]layout.Ctl{
		"no slots":        layout.PackCtl(0, 0, 1, layout.Committed),
		"too many slots":  layout.PackCtl(0, 9, 1, layout.Committed),
		"sent by nobody":  layout.PackCtl(0, 1, layout.ConsumerIndex, layout.Committed),
		"sent by whom":    layout.PackCtl(0, 1, 200, layout.Committed),
		"skips too much":  layout.PackCtl(0, 9, 1, layout.Discarded),
		"only claimed":    layout.PackCtl(0, 1, 1, layout.Claimed),
		"nothing at all":  0,
		"of the last lap": usual,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, memories[0], layout.Config{Kind: layout.MPSC, Slots: 8, SlotSize: 64})
			p, c := r.producer(), r.consumer()
			buf := make([]byte, 64)
			for range 3 {
				require.NoError(t, p.TrySend([]byte{1}))
				_, err := c.TryReceive(buf)
				require.NoError(t, err)
			}
			_, view, _ := r.process()
			lap := uint64(1)
			if word == usual {
				lap = 0
			}
			view.Descriptors[3].Ctl.Store(word | layout.PackCtl(lap, 0, 0, layout.None))
			_, err := c.TryReceive(buf)
			if s := word.State(); s < layout.Committed || word == usual {
				require.ErrorIs(t, err, ring.ErrEmpty)
				return
			}
			var corrupt *ring.CorruptError
			require.ErrorAs(t, err, &corrupt)
			require.EqualValues(t, 3, corrupt.Position)
		})
	}
}
