package ring_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// The claim of a live producer that holds the ring up is shown: whose, where, since
// when. It vanishes from the stats when it is finished.
func TestStalledClaimIsShown(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		var told []ring.StalledClaim
		r.stall = func(s ring.StalledClaim) { told = append(told, s) }
		slow, quick, c := r.producer(), r.producer(), r.consumer()
		require.NoError(t, quick.TrySend(nil))
		receiveAny(t, c)
		claim, err := slow.TryClaim(100)
		require.NoError(t, err)
		require.NoError(t, quick.TrySend([]byte("behind")))
		require.Nil(t, c.Stats().Stalled, "nobody has looked yet")
		require.NoError(t, c.Check())
		first := c.Stats().Stalled
		require.NotNil(t, first)
		want := ring.StalledClaim{Position: 1, Slots: 2, Producer: slow.Attachment().Index, PID: 4711, Age: first.Age}
		require.Equal(t, want, *first)
		for len(told) == 0 {
			require.NoError(t, c.Check())
		}
		require.GreaterOrEqual(t, told[0].Age, time.Second)
		want.Age = told[0].Age
		require.Equal(t, want, told[0])
		require.Greater(t, c.Stats().Stalled.Age, first.Age)
		require.NoError(t, c.Check())
		require.Len(t, told, 1, "told once")
		require.NoError(t, claim.Commit())
		require.Nil(t, c.Stats().Stalled)
		require.Len(t, receiveAny(t, c), 100)
		require.Equal(t, "behind", string(receiveAny(t, c)))
	})
}

// forceSkip is what an administrator's process does.
func (r *rig) forceSkip(pos uint64) (ring.StalledClaim, error) {
	h, v, cfg := r.process()
	defer h.Close()
	return ring.ForceSkip(v, cfg, pos)
}

// A revoked claim is passed, what is behind it comes, and its slots are not used by
// anybody until its owner has gone: it may still be writing.
func TestForceSkipFences(t *testing.T) {
	const slots = 16
	for _, ends := range []string{"leaves", "dies", "dies unnoticed, and the consumer too"} {
		t.Run(ends, func(t *testing.T) {
			eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
				r := newRig(layout.Config{Slots: slots, SlotSize: 64})
				stalled, quick, c := r.producer(), r.producer(), r.consumer()
				claim, err := stalled.TryClaim(150)
				require.NoError(t, err)
				other, err := stalled.TryClaim(1)
				require.NoError(t, err)
				require.NoError(t, quick.TrySend([]byte{0}))
				skipped, err := r.forceSkip(0)
				require.NoError(t, err)
				require.Equal(t, ring.StalledClaim{Slots: 3, Producer: stalled.Attachment().Index, PID: 4711}, skipped)
				_, err = r.forceSkip(0)
				require.ErrorIs(t, err, ring.ErrNotStalled)
				_, err = r.forceSkip(3)
				require.ErrorIs(t, err, ring.ErrBusy, "one at a time")
				require.NoError(t, other.Commit(), "the owner does not know yet")

				require.Len(t, receiveAny(t, c), 1)
				require.Equal(t, []byte{0}, receiveAny(t, c))
				sent := byte(1)
				for ; quick.TrySend([]byte{sent}) == nil; sent++ {
					require.Equal(t, []byte{sent}, receiveAny(t, c))
				}
				require.EqualValues(t, slots-4, sent, "the revoked claim and all behind it are still taken")
				require.NoError(t, c.Check())
				require.ErrorIs(t, quick.TrySend(nil), ring.ErrFull)

				copy(claim.Bytes(), "late")
				if ends == "leaves" {
					require.ErrorIs(t, claim.Commit(), ring.ErrRevoked)
					require.ErrorIs(t, stalled.TrySend(nil), ring.ErrRevoked)
					stalled.leave()
				} else {
					stalled.die()
				}
				if ends == "dies unnoticed, and the consumer too" {
					c.die()
					c = r.consumer()
					require.Len(t, receiveAny(t, c), 1)
					for i := range sent {
						require.Equal(t, []byte{i}, receiveAny(t, c), "again")
					}
				}
				if ends == "leaves" {
					require.NoError(t, c.Check())
				} else {
					require.ErrorIs(t, c.Check(), ring.ErrPeerDead)
				}
				_, err = c.TryReceive(nil)
				require.ErrorIs(t, err, ring.ErrEmpty)
				require.Zero(t, c.Used())
				for i := range byte(2 * slots) {
					require.NoError(t, quick.TrySend([]byte{i}))
					require.Equal(t, []byte{i}, receiveAny(t, c))
				}
				p := r.producer()
				require.Equal(t, stalled.Attachment().Index, p.Attachment().Index, "its slot is free again")
			})
		})
	}
}

// Who tells of a death, or looks for one in the middle of a batch, has let go of what the dead had lost to
// ForceSkip: its user may take his time for the next call, while producers have no room.
func TestDeathReleasesWhatWasRevoked(t *testing.T) {
	look := map[string]func(t *testing.T, c *consumer){
		"wait": func(t *testing.T, c *consumer) {
			require.Len(t, receiveAny(t, c), 1)
			require.Len(t, receiveAny(t, c), 2)
			_, err := c.Receive(soon(t), nil)
			require.ErrorIs(t, err, ring.ErrPeerDead)
			require.Zero(t, c.Used())
		},
		"Check": func(t *testing.T, c *consumer) {
			require.Len(t, receiveAny(t, c), 1)
			require.Len(t, receiveAny(t, c), 2)
			_, err := c.TryReceive(nil)
			require.ErrorIs(t, err, ring.ErrEmpty)
			require.ErrorIs(t, c.Check(), ring.ErrPeerDead)
			require.Zero(t, c.Used())
		},
		"Check within a batch": func(t *testing.T, c *consumer) {
			require.Len(t, receiveAny(t, c), 1)
			require.NoError(t, c.Check(), "it is told behind the batch")
			require.Equal(t, 1, c.Used(), "the batch")
			require.Len(t, receiveAny(t, c), 2)
			_, err := c.Receive(soon(t), nil)
			require.ErrorIs(t, err, ring.ErrPeerDead)
		},
	}
	for name, f := range look {
		t.Run(name, func(t *testing.T) {
			eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
				r := newRig(layout.Config{Slots: 8, SlotSize: 64})
				stalled, quick, c := r.producer(), r.producer(), r.consumer()
				_, err := stalled.TryClaim(200)
				require.NoError(t, err)
				_, err = quick.TrySendBatch([][]byte{{1}, {2, 3}})
				require.NoError(t, err)
				_, err = r.forceSkip(0)
				require.NoError(t, err)
				stalled.die()
				f(t, c)
			})
		})
	}
}

// A consumer that takes over meets the revoked claim again and keeps it fenced.
func TestFenceOutlivesTheConsumer(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		stalled, quick, c := r.producer(), r.producer(), r.consumer()
		claim, err := stalled.TryClaim(4)
		require.NoError(t, err)
		require.NoError(t, quick.TrySend([]byte("behind")))
		_, err = r.forceSkip(0)
		require.NoError(t, err)
		for range 3 {
			require.Equal(t, "behind", string(receiveAny(t, c)))
			_, err = c.TryReceive(nil)
			require.ErrorIs(t, err, ring.ErrEmpty)
			require.NoError(t, c.Check())
			require.Equal(t, 2, c.Used())
			c.leave()
			c = r.consumer()
		}
		require.ErrorIs(t, claim.Commit(), ring.ErrRevoked)
		stalled.leave()
		m, err := c.TryNext()
		require.NoError(t, err)
		require.True(t, m.Redelivered())
		m.Release()
		require.NoError(t, c.Check())
		require.Zero(t, c.Used())
	})
}

// Of a fenced owner only the claim that was revoked is held back, and its other
// goroutines do not lift the fence by what they do meanwhile.
func TestFenceIsExact(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 16, SlotSize: 64})
		stalled, c := r.producer(), r.consumer()
		first, err := stalled.TryClaim(4)
		require.NoError(t, err)
		_, err = stalled.TryClaim(4)
		require.NoError(t, err)
		_, err = r.forceSkip(1)
		require.NoError(t, err)
		first.Abort()
		require.NoError(t, stalled.CloseSend())
		_, err = c.TryNext()
		require.Equal(t, io.EOF, err)
		idle := func() {
			_, err = c.TryNext()
			require.ErrorIs(t, err, ring.ErrEmpty)
			require.NoError(t, c.Check())
		}
		idle()
		require.Equal(t, 1, c.Used(), "the revoked claim")
		stalled.leave()
		idle()
		require.Zero(t, c.Used())
	})
}

// An administrator who was killed between the mark and the claim has done no harm:
// another one finishes the work, and an owner that finishes the claim itself, in either
// way, is free again.
func TestForceSkipKilledHalfway(t *testing.T) {
	for _, then := range []string{"again", "abort", "commit, and another stalls"} {
		t.Run(then, func(t *testing.T) {
			eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
				r := newRig(layout.Config{Slots: 8, SlotSize: 64})
				p, c := r.producer(), r.consumer()
				claim, err := p.TryClaim(4)
				require.NoError(t, err)
				m := &p.view.Participants[p.Attachment().Index]
				m.DrainPos.Store(0)
				m.State.Store(layout.Revoked)
				switch then {
				case "again":
					_, err := r.forceSkip(0)
					require.NoError(t, err)
					require.ErrorIs(t, claim.Commit(), ring.ErrRevoked)
					p.leave()
					p = r.producer()
				case "abort":
					claim.Abort()
				default:
					require.NoError(t, claim.Commit())
					receiveAny(t, c)
					late, err := p.TryClaim(4)
					require.NoError(t, err)
					_, err = r.forceSkip(1)
					require.NoError(t, err)
					require.ErrorIs(t, late.Commit(), ring.ErrRevoked)
					p.leave()
					p = r.producer()
				}
				for i := range byte(30) {
					require.NoError(t, p.TrySend([]byte{i}))
					require.Equal(t, []byte{i}, receiveAny(t, c))
					require.NoError(t, c.Check())
				}
			})
		})
	}
}

// A producer that has lost a claim can be closed at once: it does not try to say
// goodbye on a ring that is full because of it.
func TestRevokedProducerLeavesQuietly(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		p, other, c := r.producer(), r.producer(), r.consumer()
		claim, err := p.TryClaim(4)
		require.NoError(t, err)
		for other.TrySend([]byte{1}) == nil {
		}
		_, err = r.forceSkip(0)
		require.NoError(t, err)
		for range 7 {
			receiveAny(t, c)
		}
		require.ErrorIs(t, claim.Commit(), ring.ErrRevoked)
		require.Equal(t, layout.FateFailed, p.Fate())
		require.True(t, p.Close())
		require.ErrorIs(t, other.TrySend(nil), ring.ErrFull)
	})
}

// OnStall and OnSkip may close the handle.
func TestCallbacksMayClose(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		var c *consumer
		r.skip = func(ring.SkippedClaim) { c.Close() }
		r.stall = func(ring.StalledClaim) { c.Close() }
		p := r.producer()
		_, err := p.TryClaim(4)
		require.NoError(t, err)
		c = r.consumer()
		_, err = c.Receive(soon(t), nil)
		require.ErrorIs(t, err, ring.ErrClosed)
		c.leave()
		p.die()
		c = r.consumer()
		_, err = c.Receive(soon(t), nil)
		require.ErrorIs(t, err, ring.ErrClosed)
	})
}

// A Send in the middle of which others come: its claim is recorded by the next producer, which changes nothing, or
// given up by ForceSkip, which it has to be told.
func TestForceSkipDuringSend(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		p, other, c := r.producer(), r.producer(), r.consumer()
		require.NoError(t, p.TrySend([]byte{0}), "the first looks how much room there is, which is no short way")
		require.Equal(t, []byte{0}, receiveAny(t, c))
		require.NoError(t, p.SendBetween([]byte("recorded"), func() { require.NoError(t, other.TrySend([]byte{1})) }))
		require.Equal(t, "recorded", string(receiveAny(t, c)))
		require.Equal(t, []byte{1}, receiveAny(t, c))
		require.ErrorIs(t, p.SendBetween([]byte("given up"), func() {
			require.NoError(t, other.TrySend([]byte{2}))
			_, err := r.forceSkip(3)
			require.NoError(t, err)
		}), ring.ErrRevoked)
		require.Equal(t, []byte{2}, receiveAny(t, c))
		require.NoError(t, c.Check())
	})
}

// ForceSkip against a producer that commits by plain stores: see fuzz/models/skip.pml.
func TestForceSkipBesidePlainCommits(t *testing.T) {
	if !ring.PlainStores {
		t.Skip("nobody does here")
	}
	p, c, v, r := fencedRing(t, layout.MPSC, succeeds, succeeds, nil)
	stream(t, p, c)
	require.True(t, p.IsPlain())
	owner := &v.Participants[p.Attachment().Index]
	shift := v.Config.Shift()
	descriptor := func(pos uint64) *layout.Descriptor { return &v.Descriptors[pos&(1<<shift-1)] }
	receive := func(want string) {
		t.Helper()
		buf := make([]byte, 64)
		n, err := c.TryReceive(buf)
		require.NoError(t, err)
		require.Equal(t, want, string(buf[:n]))
	}
	claimed := func() uint64 { return v.Hot.Tail.Load().Pos(v.Hot.ReadPos.Load()) - 1 }
	skip := func(pos uint64, fence func() error) error {
		h, view, cfg := r.process()
		defer h.Close()
		cfg.Barrier = &barrier{fenceAll: fence}
		_, err := ring.ForceSkip(view, cfg, pos)
		return err
	}

	// It has said that it is about to commit, and looked at its state before.
	claim, err := p.TryClaim(1)
	require.NoError(t, err)
	pos := claimed()
	descriptor(pos).Meta |= layout.Finishing(layout.LapOf(pos, shift))
	err = skip(pos, succeeds)
	require.ErrorIs(t, err, ring.ErrBusy)
	require.ErrorContains(t, err, "kill it")
	require.Equal(t, layout.Used, owner.State.Load(), "the mark is taken back")
	require.NoError(t, claim.Commit())
	receive("\x00")

	// The same, and that is visible behind the barrier only, which is done while the mark is there.
	claim, err = p.TryClaim(1)
	require.NoError(t, err)
	pos = claimed()
	require.ErrorIs(t, skip(pos, func() error {
		require.Equal(t, layout.Revoked, owner.State.Load())
		descriptor(pos).Meta |= layout.Finishing(layout.LapOf(pos, shift))
		return nil
	}), ring.ErrBusy)
	require.NoError(t, claim.Commit())
	receive("\x00")
}

// A producer that commits by plain stores sees the mark, whichever way it commits, and what it said a lap ago of
// another claim keeps nobody from giving this one up.
func TestPlainCommitSeesTheMark(t *testing.T) {
	if !ring.PlainStores {
		t.Skip("nobody does here")
	}
	for _, way := range []string{"send", "claim", "long claim"} {
		p, c, v, r := fencedRing(t, layout.MPSC, succeeds, succeeds, nil)
		stream(t, p, c)
		require.True(t, p.IsPlain())
		require.NoError(t, p.TrySend([]byte("x")), "which looks how much room there is")
		_, err := c.TryReceive(make([]byte, 8))
		require.NoError(t, err)
		shift, slots := v.Config.Shift(), map[string]int{"long claim": 2}[way]
		skip := func() {
			pos := v.Hot.Tail.Load().Pos(v.Hot.ReadPos.Load()) - uint64(max(slots, 1))
			require.True(t, layout.IsFinishing(v.Descriptors[pos&(1<<shift-1)].Meta, layout.LapOf(pos, shift)-1))
			_, err := r.forceSkip(pos)
			require.NoError(t, err)
		}
		if way == "send" {
			require.ErrorIs(t, p.SendBetween([]byte("given up"), skip), ring.ErrRevoked)
		} else {
			claim, err := p.TryClaim(1 + 64*max(slots-1, 0))
			require.NoError(t, err)
			skip()
			require.ErrorIs(t, claim.Commit(), ring.ErrRevoked)
		}
		_, err = c.TryReceive(nil)
		require.ErrorIs(t, err, ring.ErrEmpty)
	}
}

// Goroutines of one handle, one of which has lost a claim: what another commits meanwhile is sent, and is said to be,
// by CAS and by plain stores. What it has not begun to commit when the handle knows is not sent.
func TestForceSkipBesideOtherClaims(t *testing.T) {
	for _, plain := range []bool{false, true} {
		for _, way := range []string{"send", "claim", "first", "too late"} {
			join := refused
			if plain {
				join = succeeds
			}
			p, c, v, r := fencedRing(t, layout.MPSC, join, succeeds, nil)
			if way != "first" {
				stream(t, p, c)
				require.Equal(t, plain && ring.PlainStores, p.IsPlain())
				require.NoError(t, p.TrySend([]byte("x")), "which looks how much room there is")
				require.Equal(t, "x", string(receiveAny(t, c)))
			}
			lost, err := p.TryClaim(8)
			require.NoError(t, err)
			skip := func() {
				_, err := r.forceSkip(lost.Position().Record)
				require.NoError(t, err)
			}
			learns := func() { require.ErrorIs(t, lost.Commit(), ring.ErrRevoked) }
			switch way {
			case "send":
				skip()
				require.NoError(t, p.SendBetween([]byte("beside"), learns))
			case "claim", "first":
				claim, err := p.TryClaim(6)
				require.NoError(t, err)
				copy(claim.Bytes(), "beside")
				skip()
				require.NoError(t, claim.Commit(), "until the owner knows it is as ever")
				learns()
			case "too late":
				claim, err := p.TryClaim(6)
				require.NoError(t, err)
				skip()
				learns()
				require.ErrorIs(t, claim.Commit(), ring.ErrRevoked)
			}
			if way == "too late" {
				_, err = c.TryReceive(nil)
				require.ErrorIs(t, err, ring.ErrEmpty)
			} else {
				require.Equal(t, "beside", string(receiveAny(t, c)), "%s, plain: %v", way, plain)
			}
			require.Equal(t, layout.Revoked, v.Participants[p.Attachment().Index].State.Load())
			require.ErrorIs(t, p.TrySend(nil), ring.ErrRevoked)
		}
	}
}

// A consumer that takes its promise back, or is replaced by one that has none, in the middle of a ForceSkip: the
// barrier of that one is not the consumer's business, and the owner, who looks at its state, commits or has lost.
func TestForceSkipWhilePromiseEnds(t *testing.T) {
	for _, way := range []string{"withdrawn, then committed", "committed, then withdrawn", "withdrawn", "successor",
		"withdrawn before"} {
		t.Run(way, func(t *testing.T) {
			p, c, v, r := fencedRing(t, layout.MPSC, succeeds, succeeds, nil)
			stream(t, p, c)
			claim, err := p.TryClaim(4)
			require.NoError(t, err)
			copy(claim.Bytes(), "held")
			withdraw := func() {
				for v.Hot.DataBell.Load()&layout.BellFences != 0 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
					_, err := c.Receive(ctx, make([]byte, 8))
					cancel()
					require.ErrorIs(t, err, context.DeadlineExceeded)
				}
			}
			if way == "withdrawn before" { // and the owner has not seen that, and is behind its look
				withdraw()
			}
			h, view, cfg := r.process()
			defer h.Close()
			cfg.Barrier = &barrier{fenceAll: func() error {
				switch way {
				case "withdrawn, then committed":
					withdraw()
					require.NoError(t, claim.Commit())
				case "committed, then withdrawn":
					require.NoError(t, claim.Commit())
					require.Equal(t, "held", string(receiveAny(t, c)))
					withdraw()
				case "withdrawn":
					withdraw()
				case "withdrawn before":
					pos, shift := claim.Position().Record, v.Config.Shift()
					v.Descriptors[pos&(1<<shift-1)].Meta |= layout.Finishing(layout.LapOf(pos, shift))
				case "successor":
					c.die()
					c = fencedConsumer(t, r, nil, nil)
				}
				return nil
			}}
			_, err = ring.ForceSkip(view, cfg, claim.Position().Record)
			if way == "withdrawn before" {
				require.ErrorIs(t, err, ring.ErrBusy)
				require.NoError(t, claim.Commit())
				require.Equal(t, "held", string(receiveAny(t, c)))
				return
			}
			if !strings.Contains(way, "commit") {
				require.NoError(t, err)
				require.ErrorIs(t, claim.Commit(), ring.ErrRevoked)
				buf, n := make([]byte, 64), 0
				for err = error(nil); err == nil; n, err = c.TryReceive(buf) {
					require.NotEqual(t, "held", string(buf[:n])) // a successor gets some again
				}
				require.ErrorIs(t, err, ring.ErrEmpty)
				return
			}
			require.ErrorIs(t, err, ring.ErrNotStalled)
			if way == "withdrawn, then committed" {
				require.Equal(t, "held", string(receiveAny(t, c)))
			}
			require.NoError(t, p.TrySend([]byte("more")))
			require.False(t, p.IsPlain(), "nobody fences for it")
			require.Equal(t, "more", string(receiveAny(t, c)))
		})
	}
}

// ForceSkip touches nothing but an unfinished claim.
func TestForceSkipRefuses(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		refused := func(pos uint64) {
			_, err := r.forceSkip(pos)
			require.ErrorIs(t, err, ring.ErrNotStalled, "position %d", pos)
		}
		refused(0) // empty
		require.NoError(t, p.TrySend(nil))
		refused(0) // committed
		claim, err := p.TryClaim(100)
		require.NoError(t, err)
		refused(2) // inside
		refused(3) // behind
		refused(1 + 8)
		refused(1 + 1<<44)
		claim.Abort()
		refused(1)
		receiveAny(t, c)
		_, err = c.TryReceive(nil)
		require.ErrorIs(t, err, ring.ErrEmpty)
		refused(0) // released
		require.NoError(t, p.TrySend(nil), "the producer was not harmed")
		q := r.producer()
		mustClaim(t, q, 1).die()
		_, err = r.forceSkip(4)
		require.NoError(t, err, "of the dead there is nothing to fence")
	})
	eachMemory(t, layout.SPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		mustClaim(t, r.producer(), 1)
		_, err := r.forceSkip(0)
		require.ErrorIs(t, err, ring.ErrNotStalled)
	})
}

// Repair frees everything the dead held, keeps what they committed, and refuses to
// touch a ring in use.
func TestRepair(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 16, SlotSize: 64})
		repair := func() (ring.Repaired, error) {
			h, v, _ := r.process()
			defer h.Close()
			return ring.Repair(v, h)
		}
		got, err := repair()
		require.NoError(t, err)
		require.Zero(t, got)

		c := r.consumer()
		var dead []ring.DeadPeer
		var last *producer
		lives, claims := 1, 0
		if r.cfg.Kind == layout.MPSC {
			lives = 3
		}
		for i := range lives {
			last = r.producer()
			require.NoError(t, last.TrySend([]byte{byte(i)}))
			mustClaim(t, last, 100)
			dead = append(dead, ring.DeadPeer{Role: layout.RoleProducer, Index: last.Attachment().Index, PID: 4711})
			if lives > 1 {
				claims++
			}
		}
		_, err = repair()
		require.ErrorIs(t, err, ring.ErrBusy)
		require.Nil(t, c.Stats().Stalled)
		c.view.Hot.DataBell.Or(1)
		c.die()
		dead = append([]ring.DeadPeer{{Role: layout.RoleConsumer, PID: 4711}}, dead...)
		_, err = repair()
		require.ErrorIs(t, err, ring.ErrBusy)
		for _, p := range r.producers {
			p.die()
		}
		got, err = repair()
		require.NoError(t, err)
		require.Equal(t, ring.Repaired{Dead: dead, Skipped: claims, Used: lives + 2*claims}, got)
		require.Zero(t, c.view.Hot.DataBell.Load()&1)
		got, err = repair()
		require.NoError(t, err)
		require.Equal(t, ring.Repaired{Used: lives + 2*claims}, got, "nothing is left to do")

		c = r.consumer()
		require.True(t, c.Attachment().TookOver, "the one before had died, whoever has found that")
		for i := range lives {
			require.Equal(t, []byte{byte(i)}, receiveAny(t, c))
		}
		for range lives {
			_, err := c.TryReceive(nil)
			require.ErrorIs(t, err, ring.ErrPeerDead, "repair loses no news")
		}
		p := r.producer()
		require.NoError(t, p.TrySend([]byte("on")))
		require.Equal(t, "on", string(receiveAny(t, c)))
		require.NoError(t, p.CloseSend())
		_, err = c.Receive(soon(t), nil)
		require.Equal(t, io.EOF, err)
	})
}

// What no correct peer writes is not repaired over.
func TestRepairRefusesCorruption(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		for name, spoil := range map[string]func(v *layout.View){
			"state":  func(v *layout.View) { v.Participants[2].State.Store(9) },
			"tail":   func(v *layout.View) { v.Hot.Tail.Store(layout.PackTail(100, 1, 1)) },
			"length": func(v *layout.View) { v.Descriptors[0].Ctl.Store(layout.PackCtl(1, 0, 1, layout.Committed)) },
			"claim":  func(v *layout.View) { v.Descriptors[0].Ctl.Store(layout.PackCtl(1, 3, 1, layout.Claimed)) },
			"owner":  func(v *layout.View) { v.Descriptors[0].Ctl.Store(layout.PackCtl(1, 2, 0, layout.Claimed)) },
			"overrun": func(v *layout.View) {
				v.Descriptors[0].Ctl.Store(layout.PackCtl(1, 1, 1, layout.Claimed))
				v.Descriptors[1].Ctl.Store(layout.PackCtl(1, 3, 1, layout.Committed))
			},
			"beyond the lap": func(v *layout.View) {
				v.Hot.ReadPos.Store(2)
				v.Hot.Tail.Store(layout.PackTail(9, 7, 1))
				v.Descriptors[2].Ctl.Store(layout.PackCtl(1, 7, 1, layout.Committed))
			},
		} {
			r := newRig(layout.Config{Slots: 8, SlotSize: 64})
			p := r.producer()
			mustClaim(t, p, 100).die()
			h, v, _ := r.process()
			spoil(v)
			_, err := ring.Repair(v, h)
			require.ErrorIs(t, err, ring.ErrCorrupt, name)
		}
	})
}

// The consumer that a force-skip lets go on is woken, and need not find it out.
func TestForceSkipWakesTheConsumer(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, rig func(layout.Config) *rig) {
		r := rig(layout.Config{Slots: 64})
		c, live := r.consumer(), r.producer()
		const rounds = 10
		wakes := uint64(0)
		for round := range rounds {
			slow := r.producer()
			claim, err := slow.TryClaim(10)
			require.NoError(t, err)
			require.NoError(t, live.TrySend([]byte("x")))
			slept, got := c.Stats().Sleeps, make(chan error)
			go func() {
				_, err := c.Receive(soon(t), make([]byte, 64))
				got <- err
			}()
			require.Eventually(t, func() bool { return c.Stats().Sleeps > slept }, 20*time.Second, time.Millisecond)
			_, err = r.forceSkip(uint64(2 * round))
			require.NoError(t, err)
			require.NoError(t, <-got)
			require.ErrorIs(t, claim.Commit(), ring.ErrRevoked)
			wakes += slow.Stats().Wakes // in whose place it wakes
			slow.leave()
		}
		// In front of a claim that stalls the consumer gets up every millisecond, so one sleep or
		// another may have run out between the skip and its wake-up.
		require.Positive(t, wakes)
		require.Less(t, c.Stats().TimeoutWakeups, uint64(rounds))
	})
}
