package shmring_test

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

func openObserver(t testing.TB, dir string, o shmring.ObserverOptions) *shmring.Observer {
	o.Dir = dir
	in, err := shmring.OpenObserver(soon(t), "r", &o)
	require.NoError(t, err)
	t.Cleanup(func() { in.Close() })
	return in
}

// checked is a message that says which it is.
func checked(seq uint64, n int) []byte {
	m := make([]byte, max(n, 12))
	binary.LittleEndian.PutUint64(m[4:], seq)
	for i := range m[12:] {
		m[12+i] = byte(seq + uint64(i))
	}
	binary.LittleEndian.PutUint32(m, crc32.ChecksumIEEE(m[4:]))
	return m
}

func numberOf(t testing.TB, m []byte) uint64 {
	require.GreaterOrEqual(t, len(m), 12)
	require.Equal(t, crc32.ChecksumIEEE(m[4:]), binary.LittleEndian.Uint32(m), "torn")
	return binary.LittleEndian.Uint64(m[4:])
}

// An observer gets what the consumer gets, before and after it was released, and its number.
func TestObserver(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots = shmring.ModeOpenOrCreate, 64
		p, c := openProducer(t, &o), openConsumer(t, &o)
		in := openObserver(t, o.Dir, shmring.ObserverOptions{})
		_, err := in.TryNext()
		require.Equal(t, shmring.ErrEmpty, err)
		buf := make([]byte, 1<<16)
		for n := uint64(1); n < 3000; n++ {
			require.NoError(t, p.SendKind(soon(t), checked(n, int(n*7%1000)), uint16(n)))
			if n%2 == 0 {
				_, err := c.TryReceive(buf)
				require.NoError(t, err)
				_, err = c.TryReceive(buf)
				require.NoError(t, err)
				_, err = c.TryReceive(buf)
				require.Equal(t, shmring.ErrEmpty, err)
			}
			m, err := in.Next(soon(t))
			require.NoError(t, err)
			require.Equal(t, n, numberOf(t, m.Bytes))
			require.Equal(t, n, m.Sequence)
			require.EqualValues(t, uint16(n), m.Kind)
			require.Equal(t, p.Info().Participant, m.Producer)
			require.Zero(t, m.Missed)
		}
		require.EqualValues(t, 2999, in.Stats().Messages)
		require.NoError(t, in.Close())
		_, err = in.Next(soon(t))
		require.ErrorIs(t, err, os.ErrClosed)
		require.EqualValues(t, 2999, in.Stats().Messages)
	})
}

// Beside a stream that is too fast each message is returned whole, or counted as missed.
func TestObserversMissExactly(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots, o.SlotSize, o.MaxMessage = shmring.ModeOpenOrCreate, 64, 64, 600
		p, c := openProducer(t, &o), openConsumer(t, &o)
		ins := make([]*shmring.Observer, 3)
		for i := range ins {
			ins[i] = openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromOldest})
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		var sent uint64
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, 2))
			for {
				select {
				case <-stop:
					return
				default:
				}
				if rng.IntN(4) == 0 {
					var batch [][]byte
					for range 1 + rng.IntN(9) {
						batch = append(batch, checked(sent+1+uint64(len(batch)), rng.IntN(100)))
					}
					n, err := p.SendBatch(soon(t), batch)
					require.NoError(t, err)
					sent += uint64(n)
					continue
				}
				require.NoError(t, p.Send(soon(t), checked(sent+1, rng.IntN(600))))
				sent++
			}
		})
		wg.Go(func() {
			buf := make([]byte, 600)
			for {
				if _, err := c.Receive(soon(t), buf); err != nil {
					return
				}
			}
		})
		var watching sync.WaitGroup
		end := time.Now().Add(time.Second)
		for i, in := range ins {
			watching.Go(func() {
				next := uint64(1)
				for k := 0; time.Now().Before(end); k++ {
					m, err := in.Next(soon(t))
					require.NoError(t, err)
					require.Equal(t, next+m.Missed, m.Sequence)
					require.Equal(t, m.Sequence, numberOf(t, m.Bytes))
					next = m.Sequence + 1
					if i > 0 && k%(i*100) == 0 {
						time.Sleep(time.Millisecond)
					}
				}
				s := in.Stats()
				t.Logf("%+v of %d", s, next-1)
				require.Equal(t, next-1, s.Messages+s.Missed)
				require.False(t, s.Inexact)
			})
		}
		watching.Wait()
		close(stop)
		time.AfterFunc(50*time.Millisecond, func() { c.Close() })
		wg.Wait()
	})
}

// sendChecked sends messages until, among them batches, and returns their positions.
func sendChecked(t *testing.T, p *shmring.Producer, from, to uint64) {
	for n := from; n <= to; {
		if n%5 == 0 && n+3 <= to {
			_, err := p.SendBatch(soon(t), [][]byte{checked(n, 20), checked(n+1, 40), checked(n+2, 0)})
			require.NoError(t, err)
			n += 3
			continue
		}
		require.NoError(t, p.SendKind(soon(t), checked(n, int(n%90)), uint16(n%3)))
		n++
	}
}

func receiveAll(t *testing.T, c *shmring.Consumer) {
	for {
		if _, err := c.TryReceive(make([]byte, 4096)); err != nil {
			require.Equal(t, shmring.ErrEmpty, err)
			return
		}
	}
}

// observeAll returns all that an observer finds now.
func observeAll(t *testing.T, in *shmring.Observer) (list []shmring.Observed) {
	for {
		m, err := in.TryNext()
		if err != nil {
			require.Equal(t, shmring.ErrEmpty, err)
			return list
		}
		require.Equal(t, m.Sequence, numberOf(t, m.Bytes))
		m.Bytes = nil
		list = append(list, m)
	}
}

// An observer may begin at each message that is there still, released or not, and behind it.
func TestObserverStarts(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots, o.SlotSize, o.MaxMessage = shmring.ModeOpenOrCreate, 64, 64, 128
		p, c := openProducer(t, &o), openConsumer(t, &o)
		first := openObserver(t, o.Dir, shmring.ObserverOptions{})
		sendChecked(t, p, 1, 8)
		receiveAll(t, c)
		sendChecked(t, p, 9, 20)
		all := observeAll(t, first)
		require.Len(t, all, 20)
		oldest := observeAll(t, openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromOldest}))
		require.Equal(t, all[8:], oldest)
		for i, m := range all {
			in := openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromPosition(m.Position)})
			require.Equal(t, all[i:], observeAll(t, in), "from %d", m.Sequence)
			in = openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromAfter(m)})
			require.Equal(t, append([]shmring.Observed(nil), all[i+1:]...), observeAll(t, in), "after %d", m.Sequence)
			m.Sequence++
			_, err := shmring.OpenObserver(soon(t), "r", &shmring.ObserverOptions{Dir: o.Dir, From: shmring.FromAfter(m)})
			require.ErrorIs(t, err, shmring.ErrNoMessage)
		}
		no := func(pos shmring.Position) {
			_, err := shmring.OpenObserver(soon(t), "r", &shmring.ObserverOptions{Dir: o.Dir, From: shmring.FromPosition(pos)})
			require.ErrorIs(t, err, shmring.ErrNoMessage, "%v", pos)
		}
		no(shmring.Position{Record: all[19].Position.Record + 1000})
		no(shmring.Position{Record: all[10].Position.Record + 1})

		// What is overwritten is counted, exactly where the number is known.
		for n := uint64(21); n < 2021; n += 20 {
			sendChecked(t, p, n, n+19)
			receiveAll(t, c)
		}
		sendChecked(t, p, 2021, 2030)
		for _, m := range all {
			got := observeAll(t, openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromAfter(m)}))
			require.EqualValues(t, 2021, got[0].Sequence)
			require.Equal(t, 2020-m.Sequence, got[0].Missed)
			in := openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromPosition(m.Position)})
			got = observeAll(t, in)
			require.EqualValues(t, 2021, got[0].Sequence)
			require.EqualValues(t, 1, got[0].Missed)
			require.True(t, in.Stats().Inexact)
		}
		require.EqualValues(t, 2030-20, observeAll(t, first)[0].Missed+10)
	})
}

// Kinds that are not wanted are passed over, and are not missed.
func TestObserverOfKinds(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots = shmring.ModeOpenOrCreate, 64
		p := openProducer(t, &o)
		in := openObserver(t, o.Dir, shmring.ObserverOptions{Kinds: []uint16{2, 65535}})
		var want []uint64
		for n := uint64(1); n < 500; n++ {
			kind := uint16(n % 3)
			if n%50 == 0 {
				kind = 65535
			}
			if kind == 2 || kind == 65535 {
				want = append(want, n)
			}
			require.NoError(t, p.SendKind(soon(t), checked(n, 0), kind))
			if n%10 == 0 {
				for _, m := range observeAll(t, in) {
					require.Equal(t, want[0], m.Sequence)
					require.Zero(t, m.Missed)
					want = want[1:]
				}
				require.Empty(t, want)
				c, err := shmring.OpenConsumer(soon(t), "r", &o)
				require.NoError(t, err)
				receiveAll(t, c)
				require.NoError(t, c.Close())
			}
		}
	})
}

// Next ends when it is to, and says why.
func TestObserverWaits(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots = shmring.ModeOpenOrCreate, 64
		_, err := shmring.OpenObserver(soon(t), "r", &shmring.ObserverOptions{Dir: o.Dir})
		require.ErrorIs(t, err, fs.ErrNotExist)
		opened := make(chan *shmring.Observer, 1)
		go func() {
			in, err := shmring.OpenObserver(soon(t), "r", &shmring.ObserverOptions{Dir: o.Dir, Wait: true})
			if err != nil {
				in = nil
			}
			opened <- in
		}()
		p := openProducer(t, &o)
		in := <-opened
		require.NotNil(t, in)
		defer in.Close()
		ctx, cancel := context.WithCancelCause(soon(t))
		why := errors.New("why")
		time.AfterFunc(5*time.Millisecond, func() { cancel(why) })
		_, err = in.Next(ctx)
		var ended *shmring.ContextError
		require.ErrorAs(t, err, &ended)
		require.ErrorIs(t, err, why)
		require.Equal(t, "observe", ended.Op)
		sent := make(chan error, 1)
		time.AfterFunc(5*time.Millisecond, func() { sent <- p.Send(context.Background(), checked(1, 0)) })
		m, err := in.Next(soon(t))
		require.NoError(t, err)
		require.NoError(t, <-sent)
		require.EqualValues(t, 1, numberOf(t, m.Bytes))
		// With a context that is done before, what was copied comes first.
		sendChecked(t, p, 2, 5)
		_, err = in.TryNext()
		require.NoError(t, err)
		got := 0
		for ; err == nil; got++ {
			_, err = in.Next(ctx)
		}
		require.ErrorIs(t, err, why)
		require.Equal(t, 4, got)
		time.AfterFunc(5*time.Millisecond, func() { in.Close() })
		_, err = in.Next(soon(t))
		require.ErrorIs(t, err, shmring.ErrClosed)
		require.EqualValues(t, 5, in.Stats().Messages)
		_, err = shmring.OpenObserver(ctx, "r", &shmring.ObserverOptions{Dir: o.Dir})
		require.ErrorIs(t, err, why)
		_, err = shmring.OpenObserver(soon(t), "r", &shmring.ObserverOptions{Dir: o.Dir, MaxNap: 1})
		require.ErrorIs(t, err, fs.ErrInvalid)
		_, err = shmring.OpenObserver(soon(t), "..", nil)
		require.ErrorIs(t, err, fs.ErrInvalid)
	})
}

// A ring that is removed, or made anew, is observed to its end, and so is its successor: with the numbers
// that its messages have had.
func TestObservedRingsGo(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots, o.KeepStream = shmring.ModeOpenOrCreate, 64, true
		p, c := openProducer(t, &o), openConsumer(t, &o)
		sendChecked(t, p, 1, 7)
		receiveAll(t, c)
		sendChecked(t, p, 8, 20)
		in := openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromOldest})
		require.NoError(t, p.Close())
		require.NoError(t, c.Close())
		_, err := shmring.Resize(soon(t), "r", shmring.Geometry{Slots: 256}, at(o.Dir))
		require.NoError(t, err)
		var last shmring.Observed
		for n := uint64(8); n <= 20; n++ {
			last, err = in.Next(soon(t))
			require.NoError(t, err)
			require.Equal(t, n, last.Sequence)
		}
		for range 2 {
			_, err = in.Next(soon(t))
			require.ErrorIs(t, err, shmring.ErrOrphaned)
			require.ErrorContains(t, err, "inode")
		}
		in = openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromOldest})
		got := observeAll(t, in)
		require.Len(t, got, 13)
		require.EqualValues(t, 8, got[0].Sequence)
		require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
		_, err = in.Next(soon(t))
		require.ErrorIs(t, err, shmring.ErrOrphaned)
	})
}

// A file that is shortened under an observer is an error, and stays one.
func TestObservedRingsAreTruncated(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots = shmring.ModeOpenOrCreate, 1024
		p := openProducer(t, &o)
		sendChecked(t, p, 1, 200)
		in := openObserver(t, o.Dir, shmring.ObserverOptions{From: shmring.FromOldest})
		other := openObserver(t, o.Dir, shmring.ObserverOptions{})
		_, err := in.Next(soon(t))
		require.NoError(t, err)
		path := in.Info().Path
		require.NoError(t, os.Truncate(path, 4096*2))
		for err == nil {
			_, err = in.Next(soon(t))
		}
		var lost *shmring.TruncatedError
		require.ErrorAs(t, err, &lost)
		_, err = in.TryNext()
		require.ErrorIs(t, err, shmring.ErrCorrupt)
		_, err = other.Next(soon(t))
		require.ErrorIs(t, err, shmring.ErrTruncated)
	})
}

// Who may not be trusted is not, and what is no ring is not observed.
func TestObserversAreCareful(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t)}
	p := openProducer(t, &o)
	path := p.Info().Path
	require.NoError(t, os.Chmod(path, 0o666))
	_, err := shmring.OpenObserver(soon(t), "r", &shmring.ObserverOptions{Dir: o.Dir})
	require.ErrorIs(t, err, shmring.ErrRefused)
	openObserver(t, o.Dir, shmring.ObserverOptions{AnyOwner: true})
	require.NoError(t, os.WriteFile(filepath.Join(o.Dir, "x.shmring"), make([]byte, 8192), 0o600))
	_, err = shmring.OpenObserver(soon(t), "x", &shmring.ObserverOptions{Dir: o.Dir})
	require.ErrorIs(t, err, shmring.ErrFormat)
	var format *shmring.FormatError
	require.ErrorAs(t, err, &format)
}
