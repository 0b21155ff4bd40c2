package shmring_test

import (
	"context"
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/layout"
)

// forge writes a word into a ring's file, as a peer may.
func forge(t *testing.T, path string, at int64, word any) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	data, err := binary.Append(nil, binary.NativeEndian, word)
	require.NoError(t, err)
	_, err = f.WriteAt(data, at)
	require.NoError(t, err)
}

// Where words are, as docs/LAYOUT.md has them.
const (
	tailAt        = 128
	readPosAt     = 256
	participantAt = 768
	participantIs = 512 // bytes long
	stateIn       = 0   // of it
	drainPosIn    = 40
)

// isCorrupt wants an error that names the ring and the word.
func isCorrupt(t *testing.T, err error, field string) {
	t.Helper()
	var e *shmring.CorruptError
	require.ErrorAs(t, err, &e)
	require.Equal(t, field, e.Field)
	require.Equal(t, "r", e.Ring)
	require.ErrorIs(t, err, shmring.ErrCorrupt)
}

// closes wants a handle that has met corruption to close at once.
func closes(t *testing.T, stop func() error) {
	t.Helper()
	closed := make(chan error, 1)
	go func() { closed <- stop() }()
	select {
	case err := <-closed:
		require.NoError(t, err)
	case <-soon(t).Done():
		t.Fatal("Close hangs")
	}
}

// A ReadPos that makes an MPSC ring look full for ever is named by the calls that do not wait too.
func TestForgedReadPosIsNoFullRing(t *testing.T) {
	for _, forged := range []uint64{1 << 20, 1 << 30, 1<<50 + 100, 1<<60 + 1<<36} {
		o := shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Slots: 64}
		p, c := openProducer(t, &o), openConsumer(t, &o)
		forge(t, p.Info().Path, readPosAt, forged)
		var err error
		for range 2 * o.Slots {
			if err = p.TrySend(nil); err != nil {
				break
			}
		}
		isCorrupt(t, err, "distance from ReadPos to Tail")
		isCorrupt(t, p.Check(), "distance from ReadPos to Tail")
		closes(t, p.Close)
		closes(t, c.Close)
	}
}

// A ReadPos that lets producers write over what was not read, so that the consumer finds nothing any
// more, is named by that one: it knows what it has stored.
func TestForgedReadPosIsNoEmptyRing(t *testing.T) {
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
		o := shmring.Options{Dir: ringDir(t), Kind: kind, Slots: 64, SlotSize: 64}
		p, c := openProducer(t, &o), openConsumer(t, &o)
		for p.TrySend(make([]byte, 8)) == nil {
		}
		forge(t, p.Info().Path, readPosAt, uint64(64)) // both kinds may have come there
		isCorrupt(t, c.Check(), "ReadPos")
		closes(t, c.Close)
		closes(t, p.Close)

		q := shmring.Options{Dir: ringDir(t), Kind: kind, Slots: 64, SlotSize: 64, WaitPolicy: shmring.WaitSleep}
		p, c = openProducer(t, &q), openConsumer(t, &q)
		forge(t, p.Info().Path, readPosAt, uint64(64))
		_, err := c.Receive(soon(t), nil)
		isCorrupt(t, err, "ReadPos")
		closes(t, c.Close)
		closes(t, p.Close)
	}
}

// A consumer does not go on at a ReadPos that its predecessors cannot have come to.
func TestForgedReadPosIsRefused(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), Slots: 64}
	p := openProducer(t, &o)
	first := openConsumer(t, &o)
	msg := make([]byte, 500)
	for range 3 * o.Slots { // around the ring, so that the mark is of somewhere
		require.NoError(t, p.Send(soon(t), msg))
		_, err := first.Receive(soon(t), msg)
		require.NoError(t, err)
	}
	require.NoError(t, first.Close())
	for _, to := range []uint64{0, 1 << 50} {
		forge(t, p.Info().Path, readPosAt, to)
		_, err := shmring.OpenConsumer(soon(t), "r", &o)
		isCorrupt(t, err, "ReadPos")
	}
}

// Places that wait for a position that no consumer will come to are no reason to wait, and none to
// leave a free place alone.
func TestForgedDrainPos(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Slots: 64, MaxProducers: 3}
	c := openConsumer(t, &shmring.Options{Dir: o.Dir, Mode: shmring.ModeOpenOrCreate, Kind: o.Kind, Slots: o.Slots,
		MaxProducers: o.MaxProducers})
	quarantine := func(i int64) {
		at := participantAt + i*participantIs
		forge(t, c.Info().Path, at+drainPosIn, uint64(1<<62))
		forge(t, c.Info().Path, at+stateIn, uint32(layout.Draining))
	}
	quarantine(1)
	quarantine(2)
	p := openProducer(t, &o)
	require.Equal(t, 3, p.Info().Participant)
	closes(t, p.Close)
	quarantine(3)
	o.WaitForRole = true
	_, err := shmring.OpenProducer(soon(t), "r", &o)
	isCorrupt(t, err, "DrainPos of a producer that is gone")
	closes(t, c.Close)
}

// Records that hold nothing, as many as there are slots, keep no call beyond its deadline: it is asked
// for after some thousand of them. A call that does not wait says that there is nothing.
func TestNothingButDiscardedRecords(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Slots: 1 << 16, SlotSize: shmring.NoPayload}
	p, c := openProducer(t, &o), openConsumer(t, &o)
	abort := func() {
		for range o.Slots {
			claim, err := p.Claim(soon(t), 1)
			require.NoError(t, err)
			claim.Abort()
		}
	}
	abort()
	over, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	passed := p.Used()
	_, err := c.Receive(over, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, c.Check())
	require.Less(t, passed-p.Used(), o.Slots/4, "it gave up early")
	before := p.Used()
	_, err = c.TryReceive(nil)
	require.ErrorIs(t, err, shmring.ErrEmpty)
	_, err = c.TryReceive(nil) // releases what the first has passed
	require.ErrorIs(t, err, shmring.ErrEmpty)
	require.Less(t, before-p.Used(), o.Slots/4)
	require.NoError(t, c.Check())

	// And it gets to what is behind them.
	for p.Used() == o.Slots {
		_, err = c.TryReceive(nil)
		require.ErrorIs(t, err, shmring.ErrEmpty)
	}
	require.NoError(t, p.Send(soon(t), []byte("x")))
	n, err := c.Receive(soon(t), make([]byte, 1))
	require.NoError(t, err)
	require.Equal(t, 1, n)
}
