package relay

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

func testMark(t *testing.T) *mark {
	m, err := openMark(filepath.Join(t.TempDir(), "m"))
	require.NoError(t, err)
	t.Cleanup(func() {
		if m.memory != nil {
			require.NoError(t, m.close())
		}
	})
	return m
}

// Whenever a process is killed that writes notes, the file says of the newest whether it was sent, or
// that it does not say so.
func TestMarkAtEachStep(t *testing.T) {
	m := testMark(t)
	_, found := m.newest()
	require.False(t, found)
	m.begin(note{seq: 7, index: 2, what: noteMessage, position: 40})
	got, found := m.newest()
	require.True(t, found)
	require.Equal(t, note{seq: 7, index: 2, what: noteMessage, position: 40, n: 1}, got, "begun, and not known to be sent")
	m.done()
	got, _ = m.newest()
	require.True(t, got.done)

	// Killed while the next is being written.
	m.n++
	m.word(atPlaces + int(m.n&1)*placeSize + atState).Store(0)
	m.word(atPlaces + int(m.n&1)*placeSize + atSequence).Store(99)
	got, _ = m.newest()
	require.EqualValues(t, 7, got.seq)
	require.True(t, got.done)
	m.n--

	m.begin(note{seq: 8, complete: true, what: noteMessage, position: 41})
	got, _ = m.newest()
	require.EqualValues(t, 8, got.seq)
	require.False(t, got.done)
	m.undo()
	got, _ = m.newest()
	require.EqualValues(t, 7, got.seq)
	require.True(t, got.done, "what is before one that was taken back was sent")

	for n := range 100 {
		m.begin(note{seq: uint64(100 + n), complete: true, what: noteMessage})
		m.done()
	}
	require.NoError(t, m.close())
	again, err := openMark(m.path)
	require.NoError(t, err)
	got, _ = again.newest()
	require.EqualValues(t, 199, got.seq)
	require.True(t, got.complete)
	again.begin(note{seq: 200})
	got, _ = again.newest()
	require.EqualValues(t, 200, got.seq, "it goes on numbering")
	require.NoError(t, again.close())
}

// An In that was killed between its note and the commit, and one that was killed right behind the commit.
func TestKilledBetweenNoteAndCommit(t *testing.T) {
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
		for _, c := range []struct {
			name       string
			commit     bool
			then       func(p *shmring.Producer, c *shmring.Consumer)
			want       uint64 // the sequence that In goes on behind
			wantErr    error
			onlyOnMPSC bool
		}{
			{name: "not committed", want: 6},
			{name: "committed", commit: true, want: 7},
			{name: "committed and released", commit: true, want: 7, then: take(1)},
			{name: "not committed, and skipped", want: 6, then: take(0)},
			{name: "committed, released, and its slots used again", commit: true, want: 7, then: fill, onlyOnMPSC: true},
			{name: "not committed, skipped, and its slots used again", want: 6, then: fill, onlyOnMPSC: true},
			{name: "nobody can know", commit: true, then: bustle, wantErr: ErrUncertain, onlyOnMPSC: true},
		} {
			if c.onlyOnMPSC && kind == shmring.KindSPSC {
				continue
			}
			t.Run(kind.String()+"/"+c.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				o := &InOptions{Durable: "d", Common: Common{Ring: shmring.Options{Dir: t.TempDir(), Kind: kind, Slots: 8}}}
				i := &In{name: "r", o: o}
				p, err := i.open(ctx)
				require.NoError(t, err)
				i.mark.begin(note{seq: 6, complete: true, what: noteMessage})
				i.mark.done()
				claim, err := p.Claim(ctx, 3)
				require.NoError(t, err)
				i.mark.begin(note{seq: 7, complete: true, what: noteMessage, position: claim.Position().Record})
				if c.commit {
					require.NoError(t, claim.Commit())
				}
				// As if it had been killed: the claim stays open until the handle is closed, and then nobody finishes it.
				require.NoError(t, i.mark.close())
				require.NoError(t, p.Close())
				if c.then != nil {
					options := o.Ring
					consumer, err := shmring.OpenConsumer(ctx, "r", &options)
					require.NoError(t, err)
					var other *shmring.Producer
					if kind == shmring.KindMPSC {
						other, err = shmring.OpenProducer(ctx, "r", &options)
						require.NoError(t, err)
					}
					c.then(other, consumer)
					if other != nil {
						require.NoError(t, other.Close())
					}
					require.NoError(t, consumer.Close())
				}
				next := &In{name: "r", o: o}
				q, err := next.open(ctx)
				if c.wantErr != nil {
					require.ErrorIs(t, err, c.wantErr)
					return
				}
				require.NoError(t, err)
				require.Equal(t, c.want, next.last)
				require.NoError(t, next.mark.close())
				require.NoError(t, q.Close())
			})
		}
	}
}

// take receives and releases n messages, and passes over what the dead left.
func take(n int) func(*shmring.Producer, *shmring.Consumer) {
	return func(_ *shmring.Producer, c *shmring.Consumer) {
		for range n {
			m, err := c.TryNext()
			if err != nil {
				panic(err)
			}
			m.Release()
		}
		c.Check()
	}
}

// fill sends and takes more than the ring holds.
func fill(p *shmring.Producer, c *shmring.Consumer) {
	c.Check()
	for range 20 {
		if err := p.TrySend([]byte("x")); err != nil {
			panic(err)
		}
		for {
			m, err := c.TryNext()
			if err != nil {
				break
			}
			m.Release()
		}
	}
}

// bustle is fill, and more events than a ring remembers.
func bustle(p *shmring.Producer, c *shmring.Consumer) {
	fill(p, c)
	info := p.Info()
	for range 100 {
		q, err := shmring.OpenProducer(context.Background(), info.Name, &shmring.Options{Dir: filepath.Dir(info.Path)})
		if err != nil {
			panic(err)
		}
		q.Close()
	}
}

// Who writes into an SPSC ring between two relays leaves nobody who could know.
func TestAnotherProducerWasThere(t *testing.T) {
	o := &InOptions{Durable: "d", Common: Common{Ring: shmring.Options{Dir: t.TempDir()}}}
	i := &In{name: "r", o: o}
	p, err := i.open(t.Context())
	require.NoError(t, err)
	i.mark.begin(note{seq: 7, complete: true, what: noteMessage, position: 0})
	require.NoError(t, i.mark.close())
	require.NoError(t, p.Close())
	options := o.Ring
	other, err := shmring.OpenProducer(t.Context(), "r", &options)
	require.NoError(t, err)
	require.NoError(t, other.TrySend([]byte("x")))
	require.NoError(t, other.Close())
	for _, u := range []Uncertain{UncertainFail, UncertainSend, UncertainSkip} {
		o.Uncertain = u
		next := &In{name: "r", o: o}
		q, err := next.open(t.Context())
		if u == UncertainFail {
			require.ErrorIs(t, err, ErrUncertain)
			continue
		}
		require.NoError(t, err)
		if u == UncertainSkip {
			require.EqualValues(t, 7, next.last)
		} else {
			require.Zero(t, next.last)
			next.mark.begin(note{seq: 7, complete: true, what: noteMessage, position: 1}) // as before, for the next round
			next.mark.attached(shmring.Info{UUID: q.Info().UUID}, 0)
		}
		require.NoError(t, next.mark.close())
		require.NoError(t, q.Close())
	}
}
