package shmring_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/internal/pin"
)

// follow is a child that observes ring r until it has come by 10 000 messages, got or missed, five times by Next and
// five times by Latest, and says each time how many it has got.
func follow(ctx context.Context, dir string) error {
	o, err := shmring.OpenObserver(ctx, "r", &shmring.ObserverOptions{Dir: dir})
	if err != nil {
		return err
	}
	var first, next uint64
	for round := range 10 {
		take := o.Next
		if round >= 5 {
			take = o.Latest
		}
		got := 0
		for begun := next; begun == 0 || next < begun+10_000; got++ {
			m, err := take(ctx)
			if err != nil {
				return err
			}
			if next == 0 {
				first, next, begun = m.Sequence-m.Missed, m.Sequence-m.Missed, m.Sequence-m.Missed
			}
			if m.Sequence != next+m.Missed {
				return fmt.Errorf("message %d, %d missed, where %d is due", m.Sequence, m.Missed, next)
			}
			next = m.Sequence + 1
		}
		fmt.Println("got", got)
	}
	if s := o.Stats(); s.Messages+s.Missed != next-first || s.Inexact {
		return fmt.Errorf("from %d to %d: %+v", first, next, s)
	}
	return o.Close()
}

// both is a child that sends and observes by goroutines of one process.
func both(ctx context.Context, dir string) error {
	ctx, cancel := context.WithCancel(ctx)
	sent := make(chan error, 1)
	go func() { sent <- shout(ctx, dir) }()
	err := follow(ctx, dir)
	cancel()
	if err := <-sent; err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return err
}

// onOneProcessor calls f, which starts processes: they have one processor, all of them the same.
func onOneProcessor(t *testing.T, f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &before))
	one.Set(pin.CPUs()[0])
	require.NoError(t, unix.SchedSetaffinity(0, &one))
	defer func() { require.NoError(t, unix.SchedSetaffinity(0, &before)) }()
	t.Setenv("GOMAXPROCS", "1")
	f()
}

// On one processor a broadcast producer, which never waits, and observers, which nobody wakes, get on all the same:
// as two processes, and as two goroutines.
func TestBroadcastOnOneProcessor(t *testing.T) {
	for _, how := range []string{"follow", "both"} {
		t.Run(how, func(t *testing.T) {
			o := broadcastOptions(t)
			require.NoError(t, openProducer(t, o).Close())
			onOneProcessor(t, func() {
				if how == "follow" {
					_, shouts := spawn(t, o.Dir, 0, 0, "shout")
					require.True(t, shouts.Scan())
				}
				cmd, told := spawn(t, o.Dir, 0, 0, how)
				said := 0
				for told.Scan() {
					if told.Text() != "shouting" {
						said++
					}
				}
				require.NoError(t, cmd.Wait())
				require.Equal(t, 10, said)
			})
		})
	}
}

// A ring is resized again and again while it is observed: whoever goes on behind the last message that it got, gets or
// misses each message once: positions stay where they can.
func TestObservedRingIsResized(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots, o.KeepStream = shmring.ModeOpenOrCreate, 64, true
		sent, got, missed := uint64(0), uint64(0), uint64(0)
		require.NoError(t, openProducer(t, &o).Close())
		in := openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromOldest})
		var last shmring.Observed
		for round := range 15 {
			slots := []int{1024, 512, 2048}[round%3]
			o.Slots = 0
			p := openProducer(t, &o)
			most := sent + uint64(round*7%50)
			sendChecked(t, p, sent+1, most)
			sent = most
			require.NoError(t, p.Close())
			if round%2 == 0 { // and a part is consumed
				c := openConsumer(t, &o)
				for range c.Used() % 60 {
					_, err := c.TryReceive(make([]byte, 4096))
					if err == shmring.ErrEmpty {
						break
					}
					require.NoError(t, err)
				}
				require.NoError(t, c.Close())
			}
			_, err := shmring.Resize(soon(t), "r", shmring.Geometry{Slots: slots}, at(o.Dir))
			require.NoError(t, err)
			for {
				m, err := in.Next(soon(t))
				if errors.Is(err, shmring.ErrOrphaned) {
					break
				}
				require.NoError(t, err)
				require.Equal(t, got+missed+m.Missed+1, m.Sequence)
				require.Equal(t, m.Sequence, numberOf(t, m.Bytes))
				last, got, missed = m, got+1, missed+m.Missed
			}
			require.Equal(t, sent, got+missed, "round %d", round)
			in = openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromAfter(last)})
		}
		require.NotZero(t, got)
	})
}

// A ring is removed and made anew under its name: an observer is told, and whoever goes on behind a message of the old
// ring is refused, unless the new one has a message of that number at that place, which its UUID tells.
func TestObservedRingIsMadeAnew(t *testing.T) {
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC, shmring.KindBroadcast} {
		t.Run(kind.String(), func(t *testing.T) {
			o := shmring.Options{Dir: ringDir(t), Kind: kind, Slots: 64, SlotSize: 64, MaxMessage: 256}
			p := openProducer(t, &o)
			sendChecked(t, p, 1, 20)
			in := openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromOldest})
			for range 10 {
				_, err := in.Next(soon(t))
				require.NoError(t, err)
			}
			remove := func(p *shmring.Producer) {
				require.NoError(t, p.Close())
				require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
			}
			remove(p)
			p = openProducer(t, &o)
			sendChecked(t, p, 100, 104)
			var last shmring.Observed
			for range 10 {
				var err error
				last, err = in.Next(soon(t))
				require.NoError(t, err, "what is left of the old ring")
			}
			require.EqualValues(t, 20, last.Sequence)
			_, err := in.Next(soon(t))
			require.ErrorIs(t, err, shmring.ErrOrphaned)
			_, err = shmring.OpenObserver(soon(t), "r",
				&shmring.ObserverOptions{Dir: o.Dir, From: shmring.FromAfter(last)})
			var start *shmring.StartError
			require.ErrorAs(t, err, &start)
			fresh := openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromOldest})
			require.NotEqual(t, in.Info().UUID, fresh.Info().UUID)
			m, err := fresh.Next(soon(t))
			require.NoError(t, err)
			require.EqualValues(t, 100, numberOf(t, m.Bytes))
			require.EqualValues(t, 1, m.Sequence)
			remove(p)
			_, err = fresh.Next(soon(t)) // four more
			require.NoError(t, err)
		})
	}
}

// Who has got no message yet goes on behind none: with the first of all, released or not, or told how many of them are
// overwritten.
func TestObserverGoesOnBehindNothing(t *testing.T) {
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC, shmring.KindBroadcast} {
		t.Run(kind.String(), func(t *testing.T) {
			o := shmring.Options{Dir: ringDir(t), Kind: kind, Slots: 64, SlotSize: 128, MaxMessage: 256}
			p := openProducer(t, &o)
			begin := func() *shmring.Observer {
				return openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromAfter(shmring.Observed{})})
			}
			receive := func() {}
			if kind != shmring.KindBroadcast {
				c := openConsumer(t, &o)
				receive = func() { receiveAll(t, c) }
			}
			waits := begin()
			require.Empty(t, observeAll(t, waits))
			sendChecked(t, p, 1, 5)
			receive()
			for _, in := range []*shmring.Observer{waits, begin()} {
				got := observeAll(t, in)
				require.Len(t, got, 5)
				require.EqualValues(t, 1, got[0].Sequence)
				require.Zero(t, in.Stats().Missed)
				require.Zero(t, in.Stats().Overtaken)
			}
			for n := uint64(6); n < 600; n += 20 {
				sendChecked(t, p, n, n+19)
				if n < 580 {
					receive()
				}
			}
			in := begin()
			got := observeAll(t, in)
			require.NotEmpty(t, got)
			require.Equal(t, got[0].Missed+1, got[0].Sequence)
			require.EqualValues(t, 605, got[len(got)-1].Sequence)
			require.EqualValues(t, 605, in.Stats().Messages+in.Stats().Missed)
			require.False(t, in.Stats().Inexact)
		})
	}
}
