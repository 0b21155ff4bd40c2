package ring_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// In these tests a process "dies" by losing its locks with everything else left as it
// was. Deaths by SIGKILL of real processes are tested in the module's root.

const deadClaimSlots = 16

// deadClaims are places at which claims of one slot (10 bytes) and of four are left open.
var deadClaims = []struct {
	name string
	do   func(r *rig, live *producer) (skipped int)
}{
	{"newest, and nobody else writes", func(r *rig, live *producer) int {
		mustClaim(r.t, r.producer(), 10).die()
		return 1
	}},
	{"others commit behind it", func(r *rig, live *producer) int {
		mustClaim(r.t, r.producer(), 4*64).die()
		require.NoError(r.t, live.TrySend([]byte("x")))
		require.NoError(r.t, live.TrySend([]byte("y")))
		return 1
	}},
	{"several, one behind the other", func(r *rig, live *producer) int {
		a, b, c := r.producer(), r.producer(), r.producer()
		mustClaim(r.t, a, 10)
		mustClaim(r.t, b, 4*64)
		mustClaim(r.t, c, 10)
		a.die()
		b.die()
		c.die()
		require.NoError(r.t, live.TrySend([]byte("x")))
		return 3
	}},
	{"several of one process", func(r *rig, live *producer) int {
		a := r.producer()
		mustClaim(r.t, a, 10)
		mustClaim(r.t, a, 4*64)
		require.NoError(r.t, live.TrySend([]byte("x")))
		mustClaim(r.t, a, 10)
		a.die()
		return 3
	}},
	{"ring is full of it", func(r *rig, live *producer) int {
		for live.Used() < deadClaimSlots-8 {
			require.NoError(r.t, live.TrySend([]byte("x")))
		}
		mustClaim(r.t, r.producer(), 4*64).die()
		for live.TrySend([]byte("y")) == nil {
		}
		require.Equal(r.t, deadClaimSlots, live.Used())
		return 1
	}},
	{"at the end of the lap", func(r *rig, live *producer) int {
		end := live.view.Hot.Tail.Load() // only to find the place
		left := deadClaimSlots - int(end.Pos(0)%deadClaimSlots)
		for ; left > 4; left-- {
			require.NoError(r.t, live.TrySend([]byte("x")))
		}
		mustClaim(r.t, r.producer(), left*64).die()
		return 1
	}},
	{"every slot", func(r *rig, live *producer) int {
		a := r.producer()
		for range deadClaimSlots {
			mustClaim(r.t, a, 10)
		}
		a.die()
		return deadClaimSlots
	}},
}

// A dead producer's claim is skipped wherever it stands, and counted; what others
// committed arrives in order.
func TestDeadClaims(t *testing.T) {
	for _, test := range deadClaims {
		t.Run(test.name, func(t *testing.T) {
			eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
				for offset := range deadClaimSlots {
					skipsDeadClaims(t, newRig, offset, test.do)
				}
			})
		})
	}
}

// skipsDeadClaims does that on a ring that begins at so many slots into its lap.
func skipsDeadClaims(t *testing.T, newRig func(layout.Config) *rig, offset int, do func(*rig, *producer) int) {
	r := newRig(layout.Config{Slots: deadClaimSlots, SlotSize: 64})
	r.spin, r.cap = 0, time.Millisecond
	var skips []ring.SkippedClaim
	r.skip = func(s ring.SkippedClaim) { skips = append(skips, s) }
	live, c := r.producer(), r.consumer()
	buf := make([]byte, 64)
	for range offset {
		require.NoError(t, live.TrySend(nil))
		_, err := c.TryReceive(buf)
		require.NoError(t, err)
	}
	_, err := c.TryReceive(buf)
	require.ErrorIs(t, err, ring.ErrEmpty)

	skipped := do(r, live)
	sentinel := []byte("behind all of it")
	done := make(chan error, 1)
	go func() { done <- live.Send(soon(t), sentinel) }()
	for {
		n, err := c.Receive(soon(t), buf)
		if errors.Is(err, ring.ErrPeerDead) {
			continue
		}
		require.NoError(t, err)
		if string(buf[:n]) == string(sentinel) {
			break
		}
	}
	require.NoError(t, <-done)
	for range deadClaimSlots {
		if _, err = c.TryReceive(buf); err == ring.ErrEmpty {
			break
		}
		require.ErrorIs(t, err, ring.ErrPeerDead)
	}
	require.ErrorIs(t, err, ring.ErrEmpty)
	require.Zero(t, c.Used())
	require.Len(t, skips, skipped)
	require.EqualValues(t, skipped, c.Stats().Skipped)
	require.Equal(t, 4711, skips[0].PID)
}

func mustClaim(t testing.TB, p *producer, n int) *producer {
	c, err := p.TryClaim(n)
	require.NoError(t, err)
	for i := range c.Bytes() {
		c.Bytes()[i] = 0xAA
	}
	return p
}

// A live owner's claim is never passed over, however often the consumer looks.
func TestSlowClaimIsWaitedFor(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		slow, quick, c := r.producer(), r.producer(), r.consumer()
		claim, err := slow.TryClaim(4)
		require.NoError(t, err)
		require.NoError(t, quick.TrySend([]byte("second")))
		for range 1000 {
			require.NoError(t, c.Check())
			_, err := c.TryNext()
			require.ErrorIs(t, err, ring.ErrEmpty)
		}
		copy(claim.Bytes(), "1st!")
		require.NoError(t, claim.Commit())
		require.Equal(t, "1st!", string(receiveAny(t, c)))
		require.Equal(t, "second", string(receiveAny(t, c)))
		require.Zero(t, c.Stats().Skipped)
	})
}

func receiveAny(t testing.TB, c *consumer) []byte {
	buf := make([]byte, c.MaxMessage())
	n, err := c.Receive(soon(t), buf)
	require.NoError(t, err)
	return buf[:n]
}

// The slot of a dead producer is not given away while one of its claims is ahead of
// the consumer: the newcomer would make the claim look alive.
func TestQuarantine(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64, Participants: 2}) // one producer slot
		c := r.consumer()
		mustClaim(t, r.producer(), 1).die()

		_, v, cfg := r.process()
		_, err := ring.NewProducer(v, cfg)
		var busy *ring.BusyError
		require.ErrorAs(t, err, &busy)
		require.Equal(t, 1, busy.Draining)

		require.NoError(t, c.Check()) // finds the dead claim
		_, err = c.TryNext()
		require.ErrorIs(t, err, ring.ErrPeerDead) // and has passed it now
		_, err = c.TryNext()
		require.ErrorIs(t, err, ring.ErrEmpty)
		p := r.producer()
		require.Equal(t, 1, p.Attachment().Index)
		require.NoError(t, p.TrySend([]byte("reborn")))
		require.Equal(t, "reborn", string(receiveAny(t, c)))
	})
}

// A producer that is closed with a claim open leaves it behind like a dead one.
func TestLeaveWithOpenClaim(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		p, other, c := r.producer(), r.producer(), r.consumer()
		claim, err := p.TryClaim(4)
		require.NoError(t, err)
		require.NoError(t, other.TrySend([]byte("behind")))
		p.leave()
		require.ErrorIs(t, claim.Commit(), ring.ErrClosed)
		require.Equal(t, "behind", string(receiveAny(t, c)))
	})
}

// An SPSC producer that died gives ErrPeerDead behind its last message, once, and a
// successor goes on behind what was committed.
func TestProducerDeathAndTakeover(t *testing.T) {
	eachMemory(t, layout.SPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		r.spin, r.cap = 0, time.Millisecond
		c := r.consumer()
		for life := range 30 {
			p := r.producer()
			require.Equal(t, life > 0, p.Attachment().TookOver, "life %d", life)
			want := fmt.Sprint("life ", life)
			told := func() {
				_, err := c.Receive(soon(t), make([]byte, 1))
				var dead *ring.StreamError
				require.ErrorAs(t, err, &dead)
				require.ErrorIs(t, err, ring.ErrPeerDead)
				require.Equal(t, 4711, dead.PID)
				require.EqualValues(t, life, dead.Epoch)
			}
			if life%4 == 2 {
				told() // of the one before, whose successor has sent nothing yet
			}
			require.NoError(t, p.TrySend([]byte(want)))
			if life%4 == 0 && life > 0 {
				told() // likewise, and it has
			}
			claim, err := p.TryClaim(150)
			require.NoError(t, err)
			copy(claim.Bytes(), "never committed")
			p.die()
			require.Equal(t, want, string(receiveAny(t, c)))
			if life%2 == 1 {
				continue // the successor comes before the consumer has noticed
			}
			life++
			told()
			_, err = c.TryReceive(nil)
			require.ErrorIs(t, err, ring.ErrEmpty, "told once")
		}
	})
}

// deathStory is one consumer and the producers that come and go.
type deathStory struct {
	*rig
	c *consumer
}

// life is a producer that sends something and dies, or leaves, or stays.
func life(s *deathStory, says, end string) {
	p := s.producer()
	if says != "" {
		require.NoError(s.t, p.TrySend([]byte(says)))
	}
	switch end {
	case "dies":
		p.die()
	case "leaves":
		p.leave()
	}
}

var deathStories = []struct {
	name string
	tell func(s *deathStory)
	want []string
}{
	{"found before its messages were read", func(s *deathStory) {
		life(s, "one", "dies")
		require.NoError(s.t, s.c.Check())
		life(s, "two", "")
	}, []string{"one", "dead 1", "two"}},
	{"each successor dies too", func(s *deathStory) {
		life(s, "one", "dies")
		life(s, "two", "dies")
		life(s, "", "dies")
		life(s, "four", "")
	}, []string{"one", "dead 1", "two", "dead 2", "dead 3", "four"}},
	{"the first one left", func(s *deathStory) {
		life(s, "one", "leaves")
		life(s, "two", "dies")
		life(s, "three", "")
	}, []string{"one", "two", "dead 2", "three"}},
	{"the second one left", func(s *deathStory) {
		life(s, "one", "dies")
		life(s, "two", "leaves")
		life(s, "three", "")
	}, []string{"one", "dead 1", "two", "three"}},
	{"the consumer changes in between", func(s *deathStory) {
		life(s, "one", "dies")
		s.c.leave()
		life(s, "two", "")
		s.c = s.consumer()
	}, []string{"one", "dead 1", "two"}},
	{"the consumer changes when all is read", func(s *deathStory) {
		life(s, "one", "dies")
		require.Equal(s.t, "one", string(receiveAny(s.t, s.c)))
		s.c.leave()
		life(s, "two", "")
		s.c = s.consumer()
	}, []string{"dead 1", "two"}},
	{"no room to say so at first", func(s *deathStory) {
		p := s.producer()
		for range 8 {
			require.NoError(s.t, p.TrySend(eighth("x")))
		}
		p.die()
		p = s.producer()
		require.Equal(s.t, ring.ErrFull, p.TrySend(eighth("")))
		require.Equal(s.t, eighth("x"), receiveAny(s.t, s.c))
		require.Equal(s.t, eighth("x"), receiveAny(s.t, s.c))
		_, err := p.TryClaim(8 * 64)
		require.Equal(s.t, ring.ErrFull, err)
		require.Equal(s.t, eighth("x"), receiveAny(s.t, s.c))
		require.NoError(s.t, p.TrySend([]byte("y")))
	}, []string{"x", "x", "x", "x", "x", "dead 1", "y"}},
}

// Each death of an SPSC producer is told once, where its stream ends, however soon
// others came and whoever received then; that somebody left is not.
func TestEveryDeathIsTold(t *testing.T) {
	for _, test := range deathStories {
		t.Run(test.name, func(t *testing.T) {
			eachMemory(t, layout.SPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
				s := &deathStory{rig: newRig(layout.Config{Slots: 8, SlotSize: 64})}
				s.c = s.consumer()
				test.tell(s)
				var heard []string
				buf := make([]byte, 128)
				for {
					n, err := s.c.TryReceive(buf)
					if err == ring.ErrEmpty {
						break
					}
					if dead, ok := err.(*ring.StreamError); ok {
						require.Equal(t, 4711, dead.PID)
						heard = append(heard, fmt.Sprint("dead ", dead.Epoch))
						continue
					}
					require.NoError(t, err)
					heard = append(heard, string(bytes.TrimRight(buf[:n], "\x00")))
				}
				require.Equal(t, test.want, heard)
				require.NoError(t, s.c.Check(), "the last one lives")
			})
		})
	}
}

// A consumer that sleeps is woken by a successor's coming.
func TestSuccessorWakesTheConsumer(t *testing.T) {
	eachMemory(t, layout.SPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		wokenBy(t, newRig, ring.ErrPeerDead, func(r *rig, p *producer) {
			p.die()
			r.producer()
		})
	})
}

// A consumer that sleeps is woken by the end of the stream.
func TestEndWakesTheConsumer(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		wokenBy(t, newRig, io.EOF, func(_ *rig, p *producer) { require.NoError(t, p.CloseSend()) })
	})
}

// wokenBy is a consumer that sleeps for an hour, and what ends that.
func wokenBy(t *testing.T, newRig func(layout.Config) *rig, want error, what func(*rig, *producer)) {
	r := newRig(layout.Config{Slots: 8, SlotSize: 64})
	r.cap = time.Hour
	p, c := r.producer(), r.consumer()
	told := make(chan error, 1)
	go func() {
		_, err := c.Receive(soon(t), nil)
		told <- err
	}()
	require.Eventually(t, func() bool { return c.view.Hot.DataBell.Load()&1 != 0 }, 10*time.Second, time.Millisecond)
	what(r, p)
	select {
	case err := <-told:
		require.ErrorIs(t, err, want)
	case <-time.After(10 * time.Second): // its context would end the sleep later, with the same answer
		t.Fatal("nobody has woken the consumer")
	}
}

// The consumer's successor goes on behind what was released, and is told which
// messages may have been seen.
func TestConsumerTakeover(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, dies := range []bool{true, false} {
			r := newRig(layout.Config{Slots: 1024, SlotSize: 64})
			msg := func(i int) []byte { return append([]byte{byte(i)}, make([]byte, 4087)...) } // each is released at once
			p, c := r.producer(), r.consumer()
			for i := range 10 {
				require.NoError(t, p.TrySend(msg(i)))
			}
			var out []ring.Message
			for range 6 {
				m, err := c.TryNext()
				require.NoError(t, err)
				require.False(t, m.Redelivered())
				out = append(out, m)
			}
			out[3].Release()
			if dies {
				c.die()
			} else {
				c.leave()
			}
			require.NoError(t, p.TrySend(msg(10)))
			c = r.consumer()
			require.Equal(t, dies, c.Attachment().TookOver)
			require.NoError(t, p.TrySend(msg(11)))
			for i := 4; i < 12; i++ {
				m, err := c.TryNext()
				require.NoError(t, err)
				require.Equal(t, msg(i), m.Bytes())
				switch {
				case i < 6:
					require.True(t, m.Redelivered(), "message %d was in its hands", i)
				case i >= 8 || !dies:
					require.False(t, m.Redelivered(), "message %d cannot have been", i)
				}
				m.Release()
			}
		}
	})
}

// What Receive returned counts as handled when the caller comes back, or closes.
func TestReceiveReleasesOnReturn(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, dies := range []bool{true, false} {
			r := newRig(layout.Config{Slots: 1024, SlotSize: 64})
			msg := make([]byte, 4088) // so long that nothing is gathered
			p, c := r.producer(), r.consumer()
			for i := range 4 {
				msg[0] = byte(i)
				require.NoError(t, p.TrySend(msg))
			}
			buf := make([]byte, len(msg))
			for range 2 {
				_, err := c.TryReceive(buf)
				require.NoError(t, err)
			}
			next := byte(2)
			if dies {
				c.die()
				next = 1
			} else {
				c.leave()
			}
			require.Equal(t, next, receiveAny(t, r.consumer())[0])
		}
	})
}

// With AtMostOnce, what a former consumer had in hand does not come again, wherever
// it died and however it had received; nothing else is passed over but what it was
// about to receive.
func TestAtMostOnce(t *testing.T) {
	type taker func(t *testing.T, c *consumer) []byte
	receive := func(t *testing.T, c *consumer) []byte { return receiveAny(t, c) }
	next := func(t *testing.T, c *consumer) []byte {
		m, err := c.TryNext()
		require.NoError(t, err)
		return m.Bytes()
	}
	for name, take := range map[string]taker{"Receive": receive, "Next": next} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
				r := newRig(layout.Config{Slots: 64, SlotSize: 64})
				r.once = true
				p := r.producer()
				sent, due := byte(0), byte(0)
				for life := range 20 {
					for range 5 {
						require.NoError(t, p.TrySend([]byte{sent}))
						sent++
					}
					c := r.consumer()
					for range 4 {
						require.Equal(t, []byte{due}, take(t, c), "life %d", life)
						due++
					}
					if life%2 == 0 {
						c.die()
					} else {
						c.leave()
					}
				}
			})
		})
	}
	t.Run("handler", func(t *testing.T) {
		each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
			r := newRig(layout.Config{Slots: 64, SlotSize: 64})
			r.once = true
			p, c := r.producer(), r.consumer()
			for i := range 3 {
				require.NoError(t, p.TrySend([]byte{byte(i)}))
			}
			_, err := p.TrySendBatch([][]byte{{3}, {4}, {5}})
			require.NoError(t, err)
			require.NoError(t, p.TrySend([]byte{6}))
			_, _ = c.Drain(soon(t), 0, func(m ring.Message) error {
				if m.Bytes()[0] == 4 {
					c.die()
					return io.ErrUnexpectedEOF
				}
				return nil
			})
			c = r.consumer()
			if r.cfg.Kind == layout.MPSC {
				require.Equal(t, []byte{6}, receiveAny(t, c), "the rest of a batch goes with its beginning")
				require.EqualValues(t, 4, c.Stats().Dropped, "none of the four records was released")
			} else {
				require.Equal(t, []byte{5}, receiveAny(t, c), "a message of a batch is one like any other")
				require.EqualValues(t, 5, c.Stats().Dropped, "none of them was released")
				require.Equal(t, []byte{6}, receiveAny(t, c))
			}
			require.NoError(t, p.CloseSend())
			c.leave()
			c = r.consumer()
			_, err = c.Receive(soon(t), nil)
			require.Equal(t, io.EOF, err)
		})
	})
}

// Also a whole ringful that was handed out is marked.
func TestEverythingWasSeen(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 64, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		for i := range 64 {
			require.NoError(t, p.TrySend([]byte{byte(i)}))
			_, err := c.TryNext()
			require.NoError(t, err)
		}
		c.die()
		c = r.consumer()
		for range 64 {
			m, err := c.TryNext()
			require.NoError(t, err)
			require.True(t, m.Redelivered())
		}
	})
}

// Who changes from one promise to the other: nothing that may have been handled comes
// again unmarked, or at all.
func TestDeliveryChanges(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 64, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		for i := range 40 {
			require.NoError(t, p.TrySend(line(string([]byte{byte(i)}))))
		}
		_, err := c.TryNext()
		require.NoError(t, err)
		c.die()
		r.once = true
		c = r.consumer()
		first := receiveAny(t, c)[0]
		most := 64 / 8
		if r.cfg.Kind == layout.SPSC {
			most = int(r.cfg.Area() / 8 / 64)
		}
		require.True(t, 0 < first && int(first) <= 1+most, "%d", first)
		c.die()
		r.once = false
		c = r.consumer()
		m, err := c.TryNext()
		require.NoError(t, err)
		require.Equal(t, line("\x00"), m.Bytes(), "passed over, and not released before the death")
		require.True(t, m.Redelivered())
	})
}

// A budget for spinning does not put off the look after the dead.
func TestDeathIsNoticedWhileSpinning(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, spin := range []time.Duration{time.Hour, ring.SpinForever} {
			r := newRig(layout.Config{Slots: 8, SlotSize: 64})
			r.spin = spin
			live, c := r.producer(), r.consumer()
			mustClaim(t, r.producer(), 1).die()
			require.NoError(t, live.TrySend([]byte("behind")))
			require.Equal(t, "behind", string(receiveAny(t, c)))
		}
	})
}

// A refusal names the holder of the role, if there can be one only.
func TestBusyNamesTheHolder(t *testing.T) {
	refused := func(r *rig, most, pid int) {
		for range most {
			r.producer()
		}
		_, v, cfg := r.process()
		_, err := ring.NewProducer(v, cfg)
		require.Equal(r.t, &ring.BusyError{Role: layout.RoleProducer, PID: pid, Slots: most}, err)
	}
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		refused(newRig(layout.Config{Slots: 8, Participants: 2}), 1, 4711)
	})
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		refused(newRig(layout.Config{Slots: 8, Participants: 3}), 2, 0)
	})
}
