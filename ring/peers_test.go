package ring_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// watcher looks at who is there from outside.
func (r *rig) watcher() *ring.Presence {
	h, v, _ := r.process()
	w := ring.NewPresence(v, h.Held, -1)
	w.Watch()
	return w
}

// changes are what has become of peers, in short: slot, epoch and change; the fate of one
// that did not die.
func changes(t testing.TB, w *ring.Presence) (list []string) {
	require.NoError(t, w.Changes(func(e ring.PeerEvent) bool {
		text := fmt.Sprintf("%d.%d %s", e.Index, e.Epoch, [...]string{"joined", "ended", "left", "died"}[e.Change])
		if e.Change == ring.PeerLeft && e.Role == layout.RoleProducer {
			text += [...]string{" ended", "", " failed", " died"}[e.Fate]
		}
		if e.Missed != 0 {
			text += fmt.Sprintf(" after %d", e.Missed)
		}
		list = append(list, text)
		return true
	}))
	return list
}

func TestPeers(t *testing.T) {
	each(t, func(t *testing.T, rig func(layout.Config) *rig) {
		r := rig(layout.Config{Slots: 64})
		w := r.watcher()
		list, err := w.Peers()
		require.NoError(t, err)
		require.Empty(t, list)
		for _, consumer := range []bool{false, true} {
			alone, err := w.Alone(consumer)
			require.NoError(t, err)
			require.True(t, alone)
		}
		p, c := r.producer(), r.consumer()
		for range 5 {
			require.NoError(t, p.TrySend([]byte("x")))
			receive(t, c)
		}
		require.NoError(t, p.TrySend([]byte("x")))
		list, err = w.Peers()
		require.NoError(t, err)
		require.Len(t, list, 2)
		size := 1 // of a record
		if r.cfg.Kind == layout.SPSC {
			size = 16
		}
		consumer, producer := list[0], list[1]
		require.NotZero(t, consumer.Since)
		require.NotZero(t, producer.Since)
		consumer.Since, producer.Since = 0, 0
		require.Equal(t, ring.Peer{Role: layout.RoleConsumer, Epoch: 1, PID: 4711, Alive: true,
			Position: c.view.Hot.ReadPos.Load()}, consumer)
		require.Equal(t, ring.Peer{Role: layout.RoleProducer, Index: 1, Epoch: 1, PID: 4711, Alive: true, Open: true,
			Position: uint64(6 * size)}, producer)

		alone := func(consumer, want bool) {
			t.Helper()
			got, err := w.Alone(consumer)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		alone(true, false)
		alone(false, false)
		require.NoError(t, p.CloseSend())
		alone(true, true) // it is attached, but sends no more
		c.die()
		alone(false, true)
		list, err = w.Peers()
		require.NoError(t, err)
		require.False(t, list[0].Alive)
		require.True(t, list[1].Alive)
		require.False(t, list[1].Open)
		p.leave()
		list, err = w.Peers()
		require.NoError(t, err)
		require.Len(t, list, 1)
	})
}

func TestChangesOfPeers(t *testing.T) {
	each(t, func(t *testing.T, rig func(layout.Config) *rig) {
		r := rig(layout.Config{Slots: 64})
		early := r.consumer()
		w := r.watcher()
		require.Equal(t, []string{"0.1 joined"}, changes(t, w))
		require.Empty(t, changes(t, w))
		p := r.producer()
		require.Equal(t, []string{"1.1 joined"}, changes(t, w))
		require.NoError(t, p.FailSend())
		require.Equal(t, []string{"1.1 ended"}, changes(t, w))
		require.Empty(t, changes(t, w))
		p.leave()
		early.leave()
		require.Equal(t, []string{"0.1 left", "1.1 left failed"}, changes(t, w))
		require.Empty(t, changes(t, w))

		// Whoever came and went unseen is seen all the same, and so is who found a death first.
		r.producer().leave()
		r.producer().die()
		p = r.producer()
		r.consumer().die()
		c := r.consumer()
		require.Equal(t, []string{"0.2 joined", "0.2 died", "0.3 joined",
			"1.2 joined", "1.2 left", "1.3 joined", "1.3 died", "1.4 joined"}, changes(t, w))

		// A death that nobody has found yet is told once.
		p.die()
		c.die()
		require.Equal(t, []string{"0.3 died", "1.4 died"}, changes(t, w))
		require.Empty(t, changes(t, w))
		_, err := ring.Repair(r.repairer())
		require.NoError(t, err)
		require.Empty(t, changes(t, w))
		require.Empty(t, changes(t, r.watcher()), "what was over before is nobody's news")
	})
}

// repairer is what a process has that repairs the ring.
func (r *rig) repairer() (*layout.View, ring.Locks) {
	h, v, _ := r.process()
	return v, h
}

// Of too many that come and go between two looks at least the number is known.
func TestChangesThatWereMissed(t *testing.T) {
	each(t, func(t *testing.T, rig func(layout.Config) *rig) {
		for _, n := range []int{9, 10, 24, 25, 60} {
			r := rig(layout.Config{Slots: 64})
			w := r.watcher()
			for range n {
				r.producer().leave()
				r.consumer().leave()
			}
			joined, left, missed := [2]int{}, [2]int{}, [2]int{}
			require.NoError(t, w.Changes(func(e ring.PeerEvent) bool {
				switch i := e.Index; e.Change {
				case ring.PeerJoined:
					joined[i]++
					missed[i] += e.Missed
				case ring.PeerLeft:
					left[i]++
				default:
					require.Fail(t, "neither", "%v", e)
				}
				return true
			}))
			for i := range 2 {
				require.Equal(t, joined[i], left[i])
				require.Equal(t, n, joined[i]+missed[i])
				require.GreaterOrEqual(t, joined[i], min(n, 9))
			}
			if n <= 24 {
				require.Equal(t, n, joined[1], "of so many each is known")
			}
		}
	})
}

// While it refuses, a producer begins nothing, and ends what it has begun.
func TestRefusal(t *testing.T) {
	each(t, func(t *testing.T, rig func(layout.Config) *rig) {
		r := rig(layout.Config{Slots: 8, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		why := fmt.Errorf("nobody is there")
		for round := range 3 {
			claim, err := p.TryClaim(4)
			require.NoError(t, err)
			copy(claim.Bytes(), "good")
			p.Refuse(why)
			require.Equal(t, why, p.TrySend([]byte("x")))
			require.Equal(t, why, p.Send(soon(t), []byte("x")))
			_, err = p.SendBatch(soon(t), [][]byte{{1}, {2}})
			require.Equal(t, why, err)
			_, err = p.Claim(soon(t), 4)
			require.Equal(t, why, err)
			require.False(t, p.Closed())
			require.NoError(t, p.Check())
			require.NoError(t, claim.Commit())
			p.Allow()
			aborted, err := p.TryClaim(4)
			require.NoError(t, err)
			p.Refuse(why)
			aborted.Abort()
			p.Allow()
			require.NoError(t, p.TrySend([]byte("x")))
			require.Equal(t, "good", string(receiveAny(t, c)))
			require.Equal(t, "x", string(receiveAny(t, c)))

			// A call that waits for room is refused too.
			for p.TrySend(nil) == nil {
			}
			done := make(chan error)
			go func() { done <- p.Send(soon(t), nil) }()
			if round > 0 { // asleep; else perhaps not yet
				require.Eventually(t, func() bool { return p.Stats().Sleeps > 0 }, 20*time.Second, time.Millisecond)
			}
			p.Refuse(why)
			require.Equal(t, why, <-done)
			p.Allow()
			for c.Used() > 0 {
				_, err := c.TryDrain(0, func(ring.Message) error { return nil })
				if err != nil {
					require.ErrorIs(t, err, ring.ErrEmpty)
				}
			}
		}
		p.Refuse(why)
		require.NoError(t, p.CloseSend())
		p.Allow()
		require.ErrorIs(t, p.TrySend(nil), ring.ErrEnded)
		p.Refuse(why)
		require.True(t, p.Close())
		require.ErrorIs(t, p.TrySend(nil), ring.ErrClosed)
		p.Allow()
		require.ErrorIs(t, p.TrySend(nil), ring.ErrClosed)
	})
}

// Who has ended its stream and dies then has died, and its stream has not.
func TestDeathBehindTheEnd(t *testing.T) {
	each(t, func(t *testing.T, rig func(layout.Config) *rig) {
		r := rig(layout.Config{Slots: 64})
		w := r.watcher()
		p := r.producer()
		require.NoError(t, p.CloseSend())
		p.die()
		var last ring.PeerEvent
		require.NoError(t, w.Changes(func(e ring.PeerEvent) bool {
			last = e
			return true
		}))
		require.Equal(t, ring.PeerDied, last.Change)
		require.Equal(t, layout.FateEnded, last.Fate)
	})
}
