package shmring_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// shout is a child that sends the given message into a broadcast ring, numbered, until it is killed.
func shout(ctx context.Context, dir string) error {
	p, err := shmring.OpenProducer(ctx, "r", &shmring.Options{Dir: dir, Mode: shmring.ModeOpenOnly, WaitForRole: true})
	if err != nil {
		return err
	}
	for n := uint64(0); ctx.Err() == nil; n++ {
		if err := p.Send(ctx, checked(n, 12)); err != nil {
			return err
		}
		if n == 1000 {
			fmt.Println("shouting")
		}
	}
	return p.Close()
}

func broadcastOptions(t testing.TB) *shmring.Options {
	return &shmring.Options{Dir: ringDir(t), Kind: shmring.KindBroadcast, Slots: 64, SlotSize: 64, MaxMessage: 512}
}

// The producer of a broadcast ring never waits, and any number of observers get what is there.
func TestBroadcast(t *testing.T) {
	t.Setenv(shmring.EnvDoorbell, "futex") // there it makes no difference
	o := broadcastOptions(t)
	o.Untrusted = true
	p := openProducer(t, o)
	require.Equal(t, shmring.KindBroadcast, p.Info().Kind)
	require.Equal(t, "broadcast", p.Info().Kind.String())
	require.Equal(t, shmring.DoorbellPoll, p.Info().Doorbell)
	oldest := openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromOldest})
	newest := openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromNewest})
	require.Equal(t, shmring.KindBroadcast, newest.Info().Kind)
	_, err := newest.TryLatest()
	require.ErrorIs(t, err, shmring.ErrEmpty)

	var bytes uint64
	for n := range uint64(5000) {
		m := checked(n, int(n%500))
		bytes += uint64(len(m))
		require.NoError(t, p.SendKind(soon(t), m, uint16(n)))
		if n == 10 {
			for n := range uint64(11) {
				m, err := oldest.Next(soon(t))
				require.NoError(t, err)
				require.Equal(t, n, numberOf(t, m.Bytes))
				require.EqualValues(t, n, m.Kind)
				require.Equal(t, n+1, m.Sequence)
			}
			m, err := newest.Latest(soon(t))
			require.NoError(t, err)
			require.Equal(t, n, numberOf(t, m.Bytes))
			require.Equal(t, n, m.Missed)
		}
	}
	m, err := oldest.Next(soon(t))
	require.NoError(t, err)
	require.Greater(t, m.Missed, uint64(4000))
	require.Equal(t, m.Missed+11, numberOf(t, m.Bytes))
	m, err = newest.TryLatest()
	require.NoError(t, err)
	require.EqualValues(t, 4999, numberOf(t, m.Bytes))
	require.EqualValues(t, 4988, m.Missed)
	late := openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromNewest})
	m, err = late.Next(soon(t))
	require.NoError(t, err)
	require.EqualValues(t, 4999, numberOf(t, m.Bytes), "the state of things")
	require.Zero(t, m.Missed)

	q := glance(t, o.Dir, 0).Ring.Queue
	require.EqualValues(t, 5000, q.Sent)
	require.Less(t, q.Messages, uint64(1000))
	require.Zero(t, q.Redelivered)
	require.NoError(t, p.CloseSend())
	require.ErrorIs(t, p.Send(soon(t), nil), shmring.ErrEnded)
	require.NoError(t, p.Close())
	require.EqualValues(t, 5000, p.Stats().Messages, "exact when it is over")
	require.Equal(t, bytes, p.Stats().Bytes)

	p = openProducer(t, &shmring.Options{Dir: o.Dir}) // goes on
	require.NoError(t, p.Send(soon(t), checked(5000, 0)))
	m, err = late.Next(soon(t))
	require.NoError(t, err)
	require.EqualValues(t, 5001, m.Sequence)
}

// What a broadcast ring does not have is refused with what to do instead.
func TestBroadcastRefuses(t *testing.T) {
	for option, set := range map[string]func(o *shmring.Options){
		"Options.WhenFull":     func(o *shmring.Options) { o.WhenFull = shmring.WhenFullDrop },
		"Options.SendTimeout":  func(o *shmring.Options) { o.SendTimeout = time.Second },
		"Options.NoPeer":       func(o *shmring.Options) { o.NoPeer = shmring.NoPeerFail },
		"Options.MeasureEvery": func(o *shmring.Options) { o.MeasureEvery = 1 },
		"Options.Doorbell":     func(o *shmring.Options) { o.Doorbell = shmring.DoorbellFutex },
		"Options.MaxProducers": func(o *shmring.Options) { o.MaxProducers = 2 },
	} {
		o := broadcastOptions(t)
		set(o)
		_, err := shmring.OpenProducer(soon(t), "r", o)
		var bad *shmring.OptionError
		require.ErrorAs(t, err, &bad, option)
		require.Equal(t, option, bad.Option)
		require.ErrorIs(t, err, fs.ErrInvalid)
	}
	o := broadcastOptions(t)
	_, err := shmring.OpenConsumer(soon(t), "r", o)
	require.ErrorIs(t, err, fs.ErrInvalid, "without waiting for the ring")

	p := openProducer(t, o)
	require.NoError(t, p.Send(soon(t), []byte("x")))
	_, err = shmring.OpenConsumer(soon(t), "r", &shmring.Options{Dir: o.Dir})
	var none *shmring.BroadcastError
	require.ErrorAs(t, err, &none)
	require.ErrorIs(t, err, shmring.ErrBroadcast)
	require.Contains(t, err.Error(), "ring r: ")
	require.Contains(t, err.Error(), "shmring tap")
	_, err = shmring.OpenConsumer(soon(t), "r", &shmring.Options{Dir: o.Dir, Kind: shmring.KindSPSC})
	require.ErrorAs(t, err, new(*shmring.GeometryError))
	_, err = shmring.ForceSkip(soon(t), "r", shmring.Position{}, at(o.Dir))
	require.ErrorIs(t, err, shmring.ErrNotStalled)
	require.Contains(t, err.Error(), "broadcast")
	require.NoError(t, p.Close())
	for _, set := range []func(o *shmring.Options){
		func(o *shmring.Options) { o.NoPeer = shmring.NoPeerFail },
		func(o *shmring.Options) { o.MeasureEvery = 1 },
	} {
		wrong := &shmring.Options{Dir: o.Dir, Mode: shmring.ModeOpenOnly}
		set(wrong)
		_, err = shmring.OpenProducer(soon(t), "r", wrong)
		require.ErrorIs(t, err, fs.ErrInvalid)
	}
	_, err = shmring.Resize(soon(t), "r", shmring.Geometry{Slots: 128}, at(o.Dir))
	require.ErrorIs(t, err, shmring.ErrBroadcast)
	_, err = shmring.Recover(soon(t), "r", at(o.Dir))
	require.NoError(t, err)
	require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
}

// A producer is killed in the middle, and another goes on where it was.
func TestBroadcastTakeover(t *testing.T) {
	o := broadcastOptions(t)
	require.NoError(t, openProducer(t, o).Close())
	require.Equal(t, shmring.VerdictUnused, glance(t, o.Dir, 0).Verdicts[0].Code)
	in := openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromOldest})
	var next uint64
	for range 5 {
		cmd, told := spawn(t, o.Dir, 0, 0, "shout")
		require.True(t, told.Scan())
		s := glance(t, o.Dir, 0)
		require.Equal(t, shmring.VerdictHealthy, s.Verdicts[0].Code, "%+v", s.Verdicts)
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		s = glance(t, o.Dir, 0)
		require.Equal(t, shmring.VerdictStale, s.Verdicts[0].Code)
		require.Contains(t, s.Verdicts[0].Text, fmt.Sprintf("%d messages sent", s.Ring.Queue.Sent))
		require.False(t, strings.Contains(s.Verdicts[0].Text, "consumer"))
		for {
			m, err := in.TryNext()
			if errors.Is(err, shmring.ErrEmpty) {
				break
			}
			require.NoError(t, err)
			numberOf(t, m.Bytes)
			require.Equal(t, next+m.Missed+1, m.Sequence)
			next = m.Sequence
		}
		require.Equal(t, s.Ring.Queue.Sent, next)
	}
	r, err := shmring.Recover(soon(t), "r", at(o.Dir))
	require.NoError(t, err)
	require.Len(t, r.Dead, 1)
	require.Equal(t, shmring.VerdictUnused, glance(t, o.Dir, 0).Verdicts[0].Code)
	require.Equal(t, next, glance(t, o.Dir, 0).Ring.Queue.Sent)
}
