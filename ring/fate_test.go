package ring_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// tell says what a consumer gets until there is nothing more, one word for each.
func tell(t *testing.T, c *consumer) (heard []string) {
	buf := make([]byte, 128)
	for {
		n, err := c.TryReceive(buf)
		var over *ring.StreamError
		switch {
		case err == ring.ErrEmpty:
			return heard
		case err == io.EOF:
			heard = append(heard, "EOF")
		case errors.As(err, &over):
			heard = append(heard, fmt.Sprintf("%s %d", map[layout.Fate]string{
				layout.FateDied: "died", layout.FateFailed: "failed"}[over.Fate], over.Epoch))
			if over.Streams > 1 {
				heard[len(heard)-1] += fmt.Sprintf(" of %d", over.Streams)
			}
		default:
			require.NoError(t, err)
			heard = append(heard, string(bytes.TrimRight(buf[:n], "\x00")))
		}
	}
}

// Fates of a chain of producers, without a consumer, through a full ring: each is told
// behind its stream's last message and before the next one's first.
func TestFatesOfAChain(t *testing.T) {
	eachMemory(t, layout.SPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		fatesOfAChain(t, r, 8, eighth("c"))
		// Where releases are gathered, the consumer looks for fates more seldom.
		fatesOfAChain(t, newRig(layout.Config{Slots: 1024, SlotSize: 64}), 2047, line("c"))
	})
}

func fatesOfAChain(t *testing.T, r *rig, room int, msg []byte) {
	send := func(p *producer, text string) { require.NoError(t, p.TrySend([]byte(text))) }
	p := r.producer()
	send(p, "a")
	p.die() // 1
	p = r.producer()
	p.leave() // 2 has sent nothing
	p = r.producer()
	send(p, "b")
	require.NoError(t, p.FailSend())
	p.die() // 3
	p = r.producer()
	want := []string{"a", "died 1", "b", "failed 3"}
	sent := 0
	for ; p.TrySend(msg) == nil; sent++ {
		want = append(want, "c")
	}
	require.InDelta(t, room, sent, 1)
	require.ErrorIs(t, p.TrySend(msg), ring.ErrFull)
	p.die() // 4, on a full ring
	p = r.producer()
	require.ErrorIs(t, p.TrySend(msg), ring.ErrFull)
	require.NoError(t, p.CloseSend())
	p.leave() // 5
	p = r.producer()
	c := r.consumer()
	require.Equal(t, append(want, "died 4", "EOF"), tell(t, c))
	send(p, "d")
	require.Equal(t, []string{"d"}, tell(t, c))
}

// A consumer that was killed between the two words that say what it told: its successor
// counts that stream once.
func TestHalfNotedFate(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		r.expected = 2
		a, b := r.producer(), r.producer()
		require.NoError(t, a.CloseSend())
		a.view.Participants[layout.ConsumerIndex].Over.Store(layout.PackOver(1, 1, 1, 1))
		a.leave()
		c := r.consumer()
		require.NoError(t, b.TrySend([]byte("b")))
		b.leave()
		require.Equal(t, []string{"b"}, tell(t, c), "one of two is over, and one has left")
		require.EqualValues(t, 1, c.view.Participants[1].Told.Load())
	})
}

// A consumer that finds a death and dies, or closes, before it has told leaves it to its
// successor; one that was told and came back does not.
func TestFatesAreToldOnce(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, comesBack := range []bool{false, true} {
			r := newRig(layout.Config{Slots: 8, SlotSize: 64})
			p, c := r.producer(), r.consumer()
			require.NoError(t, p.TrySend([]byte("a")))
			p.die()
			require.NoError(t, c.Check(), "it finds the death, and has a message first")
			c.die()
			c = r.consumer()
			require.Equal(t, "a", string(receiveAny(t, c)))
			_, err := c.TryReceive(nil)
			require.ErrorIs(t, err, ring.ErrPeerDead)
			if comesBack {
				_, err = c.TryReceive(nil)
				require.Equal(t, ring.ErrEmpty, err)
			}
			c.die()
			c = r.consumer()
			want := []string{"died 1"}
			if comesBack {
				want = nil
			}
			require.Equal(t, want, tell(t, c), "came back: %v", comesBack)
			c.leave()
			require.Empty(t, tell(t, r.consumer()))
		}
	})
}

// What was told is noted by the next call, whatever that finds: here a message of another
// producer.
func TestAnyCallNotesWhatWasTold(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 64, SlotSize: 64})
		other, p, c := r.producer(), r.producer(), r.consumer()
		require.NoError(t, other.TrySend([]byte("a")))
		require.Equal(t, "a", string(receiveAny(t, c)))
		p.die()
		require.ErrorIs(t, c.Check(), ring.ErrPeerDead)
		require.NoError(t, other.TrySend([]byte("b")))
		_, err := c.TryNext()
		require.NoError(t, err)
		c.die()
		require.Equal(t, []string{"b"}, tell(t, r.consumer()))
	})
}

// A crash loop without a consumer: 24 streams are told each, and of more how many there
// were and the worst.
func TestCrashLoop(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64, Participants: 2})
		want := []string{}
		for i := range 30 {
			p := r.producer()
			require.Equal(t, 1, p.Attachment().Index)
			if i%2 == 0 {
				require.NoError(t, p.FailSend())
				p.leave()
			} else {
				p.die()
			}
			r.producers = nil
			what := []string{"failed", "died"}[i%2]
			switch {
			case i < layout.Fates-1 || i >= 30-layout.FatesTogether:
				want = append(want, fmt.Sprintf("%s %d", what, i+1))
			case i == 30-layout.FatesTogether-1:
				want = append(want, fmt.Sprintf("died %d of %d", i+1, i+1-(layout.Fates-1)))
			}
		}
		if r.cfg.Kind == layout.MPSC {
			want = append(want, "EOF") // those that failed have ended all the same
		}
		c := r.consumer()
		require.NoError(t, errorButDead(c.Check()))
		c.die()
		require.Equal(t, want, tell(t, r.consumer()))
	})
}

func errorButDead(err error) error {
	if errors.Is(err, ring.ErrPeerDead) || errors.Is(err, ring.ErrFailed) {
		return nil
	}
	return err
}

// io.EOF of many streams does not depend on whether consumers changed in between.
func TestEndAcrossConsumers(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, change := range []string{"", "dies", "leaves"} {
			for _, expected := range []int{0, 3} {
				r := newRig(layout.Config{Slots: 16, SlotSize: 64})
				r.expected = expected
				c := r.consumer()
				next := func() {
					switch change {
					case "dies":
						c.die()
						c = r.consumer()
					case "leaves":
						c.leave()
						c = r.consumer()
					}
				}
				a, b, d := r.producer(), r.producer(), r.producer()
				require.NoError(t, a.CloseSend())
				a.leave()
				require.Empty(t, tell(t, c))
				next()
				d.die()
				require.ErrorIs(t, c.Check(), ring.ErrPeerDead)
				require.Empty(t, tell(t, c))
				next()
				require.NoError(t, b.TrySend([]byte("b")))
				require.NoError(t, b.CloseSend())
				next()
				require.Equal(t, []string{"b", "EOF"}, tell(t, c), "%s, %d expected", change, expected)
				next()
				require.Empty(t, tell(t, c))
			}
		}
	})
}

// The place of a producer that left nothing unfinished is free at once, however it ended,
// without a consumer.
func TestDeadProducersKeepNoPlaces(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 64, SlotSize: 64, Participants: 3})
		for i := range 40 {
			p := r.producer()
			require.NoError(t, p.TrySend([]byte{byte(i)}))
			p.die()
		}
	})
}

// How a stream ended is news once: when it is said, or by leaving. A producer that has said it and leaves rings for
// nobody, so it must not have news that a sleeper comes upon later.
func TestNewsOfAnEndComeOnce(t *testing.T) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		eachMemory(t, kind, func(t *testing.T, newRig func(layout.Config) *rig) {
			r := newRig(layout.Config{Slots: 8, SlotSize: 64})
			c := r.consumer()
			for _, says := range []bool{true, false} {
				p := r.producer()
				news := &c.view.Hot.News
				before := news.Load()
				if says {
					require.NoError(t, p.FailSend())
					require.Equal(t, before+1, news.Load())
				}
				p.leave()
				require.Equal(t, before+1, news.Load(), "it has said so before: %v", says)
				tell(t, c)
			}
			p := r.producer()
			before := c.view.Hot.News.Load()
			require.NoError(t, p.FailSend())
			p.die()
			tell(t, c)
			require.NoError(t, c.Check())
			require.Equal(t, before+2, c.view.Hot.News.Load(), "it may have died before it could tell")
		})
	}
}
