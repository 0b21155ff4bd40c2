package shmring_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// truncate leaves nothing of a ring's file, so that every page of it is missing.
func truncate(t testing.TB, path string) { require.NoError(t, os.Truncate(path, 0)) }

// isTruncated wants the error that names the ring, and both lengths.
func isTruncated(t *testing.T, err error, size int64) {
	t.Helper()
	require.ErrorIs(t, err, shmring.ErrTruncated)
	require.ErrorIs(t, err, shmring.ErrCorrupt)
	var e *shmring.TruncatedError
	require.ErrorAs(t, err, &e)
	require.Equal(t, "r", e.Ring)
	require.Zero(t, e.Size)
	require.Equal(t, size, e.Want)
	require.ErrorContains(t, err, fmt.Sprintf("ring r: %s: truncated: 0 bytes are left of %d", e.Path, size))
}

// senders are the calls that move a message into a ring.
var senders = map[string]func(ctx context.Context, p *shmring.Producer) error{
	"Send":     func(ctx context.Context, p *shmring.Producer) error { return p.Send(ctx, make([]byte, 32)) },
	"TrySend":  func(_ context.Context, p *shmring.Producer) error { return p.TrySend(make([]byte, 32)) },
	"SendKind": func(ctx context.Context, p *shmring.Producer) error { return p.SendKind(ctx, make([]byte, 200), 3) },
	"TrySendKind": func(_ context.Context, p *shmring.Producer) error {
		return p.TrySendKind(make([]byte, 4000), 3)
	},
	"SendBatch": func(ctx context.Context, p *shmring.Producer) error {
		_, err := p.SendBatch(ctx, make([][]byte, 5))
		return err
	},
	"TrySendBatch": func(_ context.Context, p *shmring.Producer) error {
		_, err := p.TrySendBatch(make([][]byte, 5))
		return err
	},
	"Claim": func(ctx context.Context, p *shmring.Producer) error {
		c, err := p.Claim(ctx, 100)
		if err != nil {
			return err
		}
		c.Shorten(10)
		return c.Commit()
	},
	"TryClaim": func(_ context.Context, p *shmring.Producer) error {
		c, err := p.TryClaim(10)
		if err != nil {
			return err
		}
		return c.Commit()
	},
}

// receivers are those that move one out.
var receivers = map[string]func(ctx context.Context, c *shmring.Consumer) error{
	"Receive": func(ctx context.Context, c *shmring.Consumer) error {
		_, err := c.Receive(ctx, make([]byte, 5000))
		return err
	},
	"TryReceive": func(_ context.Context, c *shmring.Consumer) error {
		_, err := c.TryReceive(make([]byte, 5000))
		return err
	},
	"Next": func(ctx context.Context, c *shmring.Consumer) error {
		m, err := c.Next(ctx)
		m.Release()
		return err
	},
	"TryNext": func(_ context.Context, c *shmring.Consumer) error {
		m, err := c.TryNext()
		m.Release()
		return err
	},
	"Drain": func(ctx context.Context, c *shmring.Consumer) error {
		_, err := c.Drain(ctx, 1, func(shmring.Message) error { return nil })
		return err
	},
	"TryDrain": func(_ context.Context, c *shmring.Consumer) error {
		_, err := c.TryDrain(1, func(shmring.Message) error { return nil })
		return err
	},
	"All": func(ctx context.Context, c *shmring.Consumer) error {
		for _, err := range c.All(ctx) {
			return err
		}
		return errors.New("nothing")
	},
}

// afterwards is what a handle does that has met a fault: everything tells of it, nothing hangs, and
// closing gives its lock back.
func afterwards(t *testing.T, call func() error, check func() error, stop func() error, size int64) {
	t.Helper()
	isTruncated(t, call(), size)
	isTruncated(t, call(), size)
	isTruncated(t, check(), size)
	closed := make(chan error, 1)
	go func() { closed <- stop() }()
	select {
	case err := <-closed:
		require.ErrorIs(t, err, shmring.ErrTruncated)
	case <-soon(t).Done():
		t.Fatal("Close hangs")
	}
}

// Every call that moves a message does what it always does on a handle that does not trust its
// peers, and where the file was truncated it is an error, not the end of the process.
func TestUntrustedCallsSurviveTruncation(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots, o.Untrusted = 2048, true
		for sender, send := range senders {
			for receiver, receive := range receivers {
				p, c := openProducer(t, &o), openConsumer(t, &o)
				for range 70 { // long enough for the short ways, and for chores
					require.NoError(t, send(soon(t), p), sender)
				}
				for range 5 {
					require.NoError(t, receive(soon(t), c), receiver)
				}
				size := p.Info().Size
				truncate(t, p.Info().Path)
				afterwards(t, func() error { return send(soon(t), p) }, p.Check, p.Close, size)
				afterwards(t, func() error { return receive(soon(t), c) }, c.Check, c.Close, size)
				require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)), "the locks are back")
			}
		}
	})
}

// A batch of a handle that does not trust is still one record of an MPSC ring: it takes the slots of one.
func TestUntrustedBatchesArePacked(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Untrusted: true}
	p := openProducer(t, &o)
	for i, send := range []string{"SendBatch", "TrySendBatch"} {
		require.NoError(t, senders[send](soon(t), p))
		require.Equal(t, i+1, p.Used())
	}
}

// A claim that is open, and a message in the user's hands, outlive the truncation as far as the
// library touches them.
func TestUntrustedClaimsAndLoans(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots, o.Untrusted = 8, true // a release is stored at once
		for _, end := range []string{"commit", "shorten", "abort"} {
			p, c := openProducer(t, &o), openConsumer(t, &o)
			require.NoError(t, p.Send(soon(t), []byte("loan")))
			m, err := c.Next(soon(t))
			require.NoError(t, err)
			claim, err := p.Claim(soon(t), 100)
			require.NoError(t, err)
			size := p.Info().Size
			truncate(t, p.Info().Path)
			switch end {
			case "commit":
				isTruncated(t, claim.Commit(), size)
			case "shorten":
				claim.Shorten(20)
				require.Len(t, claim.Bytes(), 20)
				isTruncated(t, claim.Commit(), size)
			case "abort":
				claim.Abort()
			}
			require.NoError(t, claim.Commit(), "it is finished")
			m.Release()
			afterwards(t, func() error { return p.TrySend(nil) }, p.Check, p.Close, size)
			afterwards(t, func() error { return receivers["TryNext"](soon(t), c) }, c.Check, c.Close, size)
			require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
		}
	})
}

// The bytes of a message are the user's, and a handler of Drain that touches them ends where a page
// is missing. A panic that is not about this ring goes on.
func TestFaultsInAHandler(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), Untrusted: true}
	other := shmring.Options{Dir: ringDir(t)}
	p, c := openProducer(t, &o), openConsumer(t, &o)
	q, d := openProducer(t, &other), openConsumer(t, &other)
	require.NoError(t, q.Send(soon(t), make([]byte, 200)))
	foreign, err := d.Next(soon(t))
	require.NoError(t, err)
	require.NoError(t, p.Send(soon(t), make([]byte, 200)))
	sum := byte(0)
	read := func(m *shmring.Message) {
		for _, b := range m.Bytes() {
			sum += b
		}
	}
	truncate(t, q.Info().Path)
	was := debug.SetPanicOnFault(true)
	require.PanicsWithError(t, "runtime error: invalid memory address or nil pointer dereference", func() {
		_, _ = c.Drain(soon(t), 0, func(shmring.Message) error { read(&foreign); return nil })
	})
	require.True(t, debug.SetPanicOnFault(was), "as it was")
	require.PanicsWithValue(t, "mine", func() {
		_, _ = c.Drain(soon(t), 0, func(shmring.Message) error { panic("mine") })
	})
	n, err := c.Drain(soon(t), 1, func(m shmring.Message) error { read(&m); return nil })
	require.NoError(t, err, "it goes on")
	require.Equal(t, 1, n)

	require.NoError(t, p.Send(soon(t), make([]byte, 200)))
	_, err = c.Drain(soon(t), 1, func(m shmring.Message) error {
		truncate(t, p.Info().Path)
		read(&m)
		return nil
	})
	isTruncated(t, err, p.Info().Size)
	require.False(t, debug.SetPanicOnFault(was))
}

// Many goroutines share the producer of an MPSC ring. One of them meets the fault; all are told, and
// none of another ring.
func TestUntrustedManyGoroutines(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Slots: 64, Untrusted: true,
		WhenFull: shmring.WhenFullFail}
	healthy := o
	healthy.Dir = ringDir(t)
	p, q := openProducer(t, &o), openProducer(t, &healthy)
	c := openConsumer(t, &healthy)
	var all sync.WaitGroup
	ends := make(chan error, 8)
	for range cap(ends) {
		all.Go(func() {
			for {
				err := p.Send(t.Context(), make([]byte, 32))
				if err != nil && err != shmring.ErrFull {
					ends <- err
					return
				}
			}
		})
	}
	truncate(t, p.Info().Path)
	all.Wait()
	close(ends)
	for err := range ends {
		isTruncated(t, err, p.Info().Size)
	}
	require.NoError(t, q.Send(soon(t), []byte("hello")))
	n, err := c.Receive(soon(t), make([]byte, 5))
	require.NoError(t, err)
	require.Equal(t, 5, n)
}

// What waits, what the library does by itself, and what moves no message survive on every handle.
func TestEveryHandleSurvivesTruncation(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		for _, doorbell := range []shmring.Doorbell{shmring.DoorbellFutex, shmring.DoorbellSysV, shmring.DoorbellPoll} {
			o.Slots, o.Doorbell, o.OnPeer = 8, doorbell, func(shmring.PeerEvent) {}
			p, c := openProducer(t, &o), openConsumer(t, &o)
			size := p.Info().Size
			ends := make(chan error, 1)
			for p.TrySend(nil) == nil {
			}
			ctx, cancel := context.WithCancel(soon(t))
			go func() { ends <- p.Send(ctx, nil) }()
			awaitSleeps(t, p.Stats)
			truncate(t, p.Info().Path)
			cancel() // a goroutine of the library ends the sleep
			if err := <-ends; !errors.Is(err, context.Canceled) {
				isTruncated(t, err, size)
			}
			// Also what can tell no error. Of each handle the first of these meets the fault.
			_, _, _, _ = p.Used(), c.Stats(), p.Stats(), c.Used()
			p.CountDropped(1)
			for _, f := range []func() error{p.CloseSend, p.FailSend, p.Check, c.Check} {
				isTruncated(t, f(), size)
			}
			_, err := p.Peers()
			require.NoError(t, err, "it is of zeros")
			require.ErrorIs(t, p.Close(), shmring.ErrTruncated)
			require.ErrorIs(t, c.Close(), shmring.ErrTruncated)
			require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
		}
	})
}

// awaitSleeps waits until a handle sleeps.
func awaitSleeps(t *testing.T, stats func() shmring.Stats) {
	before := stats().Sleeps
	require.Eventually(t, func() bool { return stats().Sleeps > before }, 20*time.Second, time.Millisecond)
}

// A consumer that waits on a handle that trusts its peers is told.
func TestWaitsSurviveTruncation(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		p, c := openProducer(t, &o), openConsumer(t, &o)
		ends := make(chan error, 1)
		go func() {
			_, err := c.Receive(soon(t), nil)
			ends <- err
		}()
		awaitSleeps(t, c.Stats)
		truncate(t, p.Info().Path)
		isTruncated(t, <-ends, p.Info().Size)
	})
}

// A Poller tells of the ring that was truncated, by its consumer, and goes on with the others.
func TestPollerSurvivesTruncation(t *testing.T) {
	poller, err := shmring.NewPoller(nil)
	require.NoError(t, err)
	defer poller.Close()
	var producers []*shmring.Producer
	consumers := map[*shmring.Consumer]int{}
	for i := range 5 {
		o := shmring.Options{Dir: ringDir(t), Slots: 64, Untrusted: i%2 == 0}
		producers = append(producers, openProducer(t, &o))
		c := openConsumer(t, &o)
		consumers[c] = i
		require.NoError(t, poller.Add(c))
	}
	for lost := range 4 {
		truncate(t, producers[lost].Info().Path)
		c, err := poller.Wait(soon(t))
		isTruncated(t, err, producers[lost].Info().Size)
		require.Equal(t, lost, consumers[c])
		for i := lost + 1; i < len(producers); i++ {
			require.NoError(t, producers[i].Send(soon(t), nil))
			c, err := poller.Wait(soon(t))
			require.NoError(t, err)
			require.Equal(t, i, consumers[c])
			_, err = c.TryReceive(nil)
			require.NoError(t, err)
		}
	}
	require.Equal(t, 1, poller.Len())
}

// Who recovers from the fault himself can close the handle, though a call of it never left.
func TestCloseAfterAFaultOfTheUsers(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t)}
	p, c := openProducer(t, &o), openConsumer(t, &o)
	for range 70 {
		require.NoError(t, p.Send(soon(t), nil))
	}
	truncate(t, p.Info().Path)
	was := debug.SetPanicOnFault(true)
	require.Panics(t, func() { _ = p.Send(soon(t), nil) })
	require.Panics(t, func() { _, _ = c.TryReceive(nil) })
	debug.SetPanicOnFault(was)
	for _, stop := range []func() error{p.Close, c.Close} {
		closed := make(chan error, 1)
		go func() { closed <- stop() }()
		select {
		case <-closed:
		case <-soon(t).Done():
			t.Fatal("Close hangs")
		}
	}
	require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
}

// What looks after a handle meets the fault on a goroutine that is nobody's. Another handle's, which
// began later, has looked twice by the time the test ends.
func TestAttendantSurvivesTruncation(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), OnPeer: func(shmring.PeerEvent) {}}
	c := openConsumer(t, &shmring.Options{Dir: o.Dir, Mode: shmring.ModeOpenOrCreate, OnPeer: o.OnPeer})
	truncate(t, c.Info().Path)
	joined := make(chan int, 10)
	o.OnPeer = func(e shmring.PeerEvent) { joined <- e.Participant }
	for _, o.Dir = range []string{ringDir(t), ringDir(t)} {
		openProducer(t, &o)
		openConsumer(t, &shmring.Options{Dir: o.Dir})
		select {
		case <-joined:
		case <-soon(t).Done():
			t.Fatal("no news")
		}
	}
	isTruncated(t, c.Check(), c.Info().Size)
}
