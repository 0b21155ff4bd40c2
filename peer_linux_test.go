package shmring_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// become is for what a handle learns by itself, within half a second or two; machines are
// busy.
func become(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "%s", what)
	}
}

// A producer whose ring has lost its name learns of it though there is always room.
func TestSenderLearnsThatItsRingIsGone(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		p := openProducer(t, &o)
		require.NoError(t, p.TrySend([]byte("kept")))
		require.NoError(t, os.Remove(p.Info().Path))
		var err error
		become(t, "Send fails", func() bool {
			err = p.Send(soon(t), []byte("x"))
			return err != nil
		})
		require.ErrorIs(t, err, shmring.ErrOrphaned)
		require.ErrorIs(t, p.TrySend(nil), shmring.ErrOrphaned)
		require.ErrorIs(t, p.Close(), shmring.ErrOrphaned)
		require.ErrorIs(t, p.TrySend(nil), shmring.ErrClosed)
	})
}

// One that closes before that learns of it by Close.
func TestCloseTellsThatTheRingIsGone(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		p := openProducer(t, &o)
		require.NoError(t, p.Send(soon(t), []byte("x")))
		require.NoError(t, os.Remove(p.Info().Path))
		require.ErrorIs(t, p.Close(), shmring.ErrOrphaned)
		require.ErrorIs(t, p.Close(), shmring.ErrOrphaned)
	})
}

func TestProducerWithoutConsumer(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots, o.SlotSize, o.NoPeer, o.WaitForRole = 64, 1024, shmring.NoPeerFail, true
		p := openProducer(t, &o)
		require.ErrorIs(t, p.TrySend(nil), shmring.ErrNoPeer, "nobody is there yet")
		require.ErrorContains(t, p.Send(soon(t), nil), "ring r: no consumer is attached")
		require.ErrorIs(t, p.Check(), shmring.ErrNoPeer)

		cmd, out := spawn(t, o.Dir, 0, 0, "consume")
		become(t, "the consumer is noticed", func() bool { return p.TrySend(numbered(0)) == nil })
		require.NoError(t, p.Check())
		require.True(t, out.Scan())

		// It is stopped: that is not gone. The ring fills, and a call waits.
		stop(t, cmd.Process)
		for i := 1; ; i++ {
			if err := p.TrySend(numbered(i)); err != nil {
				require.ErrorIs(t, err, shmring.ErrFull)
				break
			}
		}
		blocked := make(chan error)
		go func() { blocked <- p.Send(soon(t), make([]byte, p.MaxMessage())) }()
		require.NoError(t, cmd.Process.Kill())
		require.ErrorIs(t, <-blocked, shmring.ErrNoPeer)
		_ = cmd.Wait()
		become(t, "sends fail", func() bool { return errors.Is(p.TrySend(nil), shmring.ErrNoPeer) })
		require.NoError(t, p.CloseSend(), "whoever comes gets what is there, and its end")

		o.NoPeer = shmring.NoPeerWait
		c, n := openConsumer(t, &o), 0
		for _, err := range c.All(soon(t)) {
			require.NoError(t, err)
			n++
		}
		require.Greater(t, n, 1)
	})
}

// stop stops a process, and returns when none of its threads runs any more.
func stop(t *testing.T, p *os.Process) {
	require.NoError(t, p.Signal(syscall.SIGSTOP))
	become(t, "all threads are stopped", func() bool {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid))
		require.NoError(t, err)
		for _, task := range tasks {
			text, _ := os.ReadFile(task)
			_, state, _ := strings.Cut(string(text), ") ")
			if !strings.HasPrefix(state, "T") && state != "" {
				return false
			}
		}
		return len(tasks) > 0
	})
}

func TestConsumerWithoutProducer(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode = shmring.ModeOpenOrCreate
		first := openProducer(t, &o)
		require.NoError(t, first.TrySend([]byte("kept")))
		buf := make([]byte, 1024)

		o.NoPeer = shmring.NoPeerFail
		c := openConsumer(t, &o)
		n, err := c.Receive(soon(t), buf)
		require.NoError(t, err)
		require.Equal(t, "kept", string(buf[:n]))
		_, err = c.Receive(within(t, time.Second), buf)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "somebody may still send")
		require.NoError(t, first.CloseSend())
		_, err = c.Receive(soon(t), buf)
		require.ErrorContains(t, err, "EOF", "the end first")
		_, err = c.Receive(soon(t), buf)
		require.ErrorIs(t, err, shmring.ErrNoPeer, "it is attached, and sends no more")
		require.ErrorContains(t, err, "ring r: no producer is attached")
		require.NoError(t, first.Close())
		require.ErrorIs(t, c.Check(), shmring.ErrNoPeer)

		cmd, out := spawn(t, o.Dir, 0, 3, "stop")
		require.True(t, out.Scan())
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		for range 3 {
			_, err = c.Receive(soon(t), buf)
			require.NoError(t, err)
		}
		_, err = c.Receive(soon(t), buf)
		require.ErrorIs(t, err, shmring.ErrPeerDead)
		_, err = c.Receive(soon(t), buf)
		require.ErrorIs(t, err, shmring.ErrNoPeer)
	})
}

// Both sides learn who comes and goes, and how, while they call nothing.
func TestOnPeer(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		watch := func() (*shmring.Options, chan shmring.PeerEvent) {
			events, own := make(chan shmring.PeerEvent, 100), o
			own.OnPeer = func(e shmring.PeerEvent) { events <- e }
			return &own, events
		}
		expect := func(events chan shmring.PeerEvent, role shmring.Role, change shmring.PeerChange) shmring.PeerEvent {
			t.Helper()
			select {
			case e := <-events:
				require.Equal(t, role, e.Role)
				require.Equal(t, change, e.Change, "%+v", e)
				require.Zero(t, e.Missed)
				return e
			case <-soon(t).Done():
				require.Fail(t, "no news", "of a %s: %v", role, change)
				panic("not reached")
			}
		}
		o.WaitForRole = true
		withEvents, toProducer := watch()
		p := openProducer(t, withEvents)
		o.Mode = shmring.ModeOpenOnly
		cmd, out := spawn(t, o.Dir, 0, 0, "consume")
		joined := expect(toProducer, shmring.RoleConsumer, shmring.PeerJoined)
		require.Equal(t, cmd.Process.Pid, joined.PID)
		require.True(t, joined.Alive)
		require.WithinRange(t, joined.Since, time.Now().Add(-time.Minute), time.Now())
		require.NoError(t, p.Send(soon(t), numbered(0)))
		require.True(t, out.Scan())
		peers, err := p.Peers()
		require.NoError(t, err)
		require.Len(t, peers, 2)
		require.Equal(t, cmd.Process.Pid, peers[0].PID)
		require.Equal(t, os.Getpid(), peers[1].PID)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		died := expect(toProducer, shmring.RoleConsumer, shmring.PeerDied)
		require.Equal(t, joined.PID, died.PID)
		require.False(t, died.Alive)

		withEvents, toConsumer := watch()
		c := openConsumer(t, withEvents)
		expect(toProducer, shmring.RoleConsumer, shmring.PeerJoined)
		there := expect(toConsumer, shmring.RoleProducer, shmring.PeerJoined)
		require.Equal(t, os.Getpid(), there.PID)
		require.True(t, there.Open)
		require.NoError(t, p.FailSend())
		ended := expect(toConsumer, shmring.RoleProducer, shmring.PeerEnded)
		require.Equal(t, shmring.FateFailed, ended.Fate)
		require.False(t, ended.Open)
		require.NoError(t, p.Close())
		require.Equal(t, shmring.FateFailed, expect(toConsumer, shmring.RoleProducer, shmring.PeerLeft).Fate)
		require.NoError(t, c.Close())
		_, err = c.Peers()
		require.ErrorIs(t, err, shmring.ErrClosed)
	})
}

// What is called may close the handle, and nothing comes after that.
func TestOnPeerMayClose(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		closed := make(chan error, 2)
		var c *shmring.Consumer
		open := make(chan struct{})
		var calls atomic.Int32
		watching := o
		watching.OnPeer = func(shmring.PeerEvent) {
			<-open
			calls.Add(1)
			closed <- c.Close()
		}
		p := openProducer(t, &o)
		require.NoError(t, p.CloseSend()) // so there are two changes to tell in the first look
		c = openConsumer(t, &watching)
		close(open)
		require.NoError(t, <-closed)
		// Another one is told that the producer has left. It looks no more often than the first
		// would, which was told of something last: had that one gone on, it would know by now.
		var told atomic.Int32
		another := o
		another.OnPeer = func(shmring.PeerEvent) { told.Add(1) }
		openConsumer(t, &another)
		become(t, "another is told who is there, and has ended", func() bool { return told.Load() == 2 })
		require.NoError(t, p.Close())
		become(t, "another is told who has left", func() bool { return told.Load() == 3 })
		require.EqualValues(t, 1, calls.Load())
	})
}

// Whoever comes and goes all the time is seen, or counted.
func TestOnPeerLosesNobody(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		const n = 200
		var joined, left, missed atomic.Int64
		watching := o
		watching.OnPeer = func(e shmring.PeerEvent) {
			missed.Add(int64(e.Missed))
			switch e.Change {
			case shmring.PeerJoined:
				joined.Add(1)
			case shmring.PeerLeft:
				left.Add(1)
			}
		}
		openConsumer(t, withMode(watching, shmring.ModeOpenOrCreate))
		for range n {
			p, err := shmring.OpenProducer(soon(t), "r", &o)
			require.NoError(t, err)
			require.NoError(t, p.Close())
			time.Sleep(5 * time.Millisecond) // 200 a second
		}
		become(t, "all are seen or counted", func() bool { return left.Load()+missed.Load() == n })
		require.Equal(t, left.Load(), joined.Load())
		t.Logf("%d seen, %d counted", left.Load(), missed.Load())
	})
}

// Who takes no part sees who does, and the dead that nobody has found.
func TestPeersFromOutside(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		_, err := shmring.Peers(soon(t), "r", at(o.Dir))
		require.ErrorIs(t, err, fs.ErrNotExist)
		p := openProducer(t, &o)
		cmd, _ := spawn(t, o.Dir, 0, 0, "consume")
		var peers []shmring.Peer
		become(t, "both are there", func() bool {
			peers, err = shmring.Peers(soon(t), "r", at(o.Dir))
			require.NoError(t, err)
			return len(peers) == 2
		})
		own, err := p.Peers()
		require.NoError(t, err)
		require.Equal(t, own, peers)
		require.Equal(t, []int{cmd.Process.Pid, os.Getpid()}, []int{peers[0].PID, peers[1].PID})
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		become(t, "one is dead", func() bool {
			peers, err = shmring.Peers(soon(t), "r", at(o.Dir))
			require.NoError(t, err)
			require.Len(t, peers, 2)
			require.True(t, peers[1].Alive)
			return !peers[0].Alive
		})
	})
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func withMode(o shmring.Options, m shmring.Mode) *shmring.Options {
	o.Mode = m
	return &o
}
