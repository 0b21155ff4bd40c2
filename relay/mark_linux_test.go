package relay

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

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

// Who has a message can be sure that it was noted: a relay that is killed behind the commit does not send it again.
func TestNotedBeforeItIsSent(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o := &InOptions{Durable: "d", Common: Common{Ring: shmring.Options{Dir: t.TempDir()}}}
	i := &In{name: "r", o: o}
	var err error
	i.ring, err = i.open(ctx)
	require.NoError(t, err)
	m := i.mark
	options := o.Ring
	c, err := shmring.OpenConsumer(ctx, "r", &options)
	require.NoError(t, err)
	const n = 5000
	seen := make(chan note)
	go func() {
		defer close(seen)
		for range n {
			got, err := c.Next(ctx)
			if err != nil {
				return
			}
			newest, _ := m.newest()
			got.Release()
			seen <- newest
		}
	}()
	for seq := range uint64(n) {
		w := note{seq: seq + 1, complete: true, what: noteMessage}
		require.NoError(t, i.trySend(ctx, w, nil, &entry{data: []byte("x")}))
		newest, open := <-seen
		require.True(t, open)
		require.Equal(t, seq+1, newest.seq, "a message came that was not noted")
	}
	require.NoError(t, c.Close())
	require.NoError(t, i.ring.Close())
	require.NoError(t, m.close())
}

// SmallDisk is a file system with so much room.
func SmallDisk(t *testing.T, size string) (path string) {
	path = t.TempDir()
	if err := unix.Mount("small", path, "tmpfs", 0, "size="+size); err != nil {
		t.Skip("a small file system cannot be mounted here:", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(path, 0)) })
	return path
}

// A directory without room, or to be read only, is an error with a remedy; nothing is lost, and it goes on when there
// is room.
func TestNotesOnAFullDisk(t *testing.T) {
	dir := SmallDisk(t, "64k")
	d := newDivided(t, shmring.KindSPSC)
	p := d.producer()
	for range 5 {
		require.NoError(t, p.Send(d.ctx, []byte("m")))
	}
	d.o.MarkDir = dir
	run := func() error {
		out, err := NewOut(d.nc, "r", &d.o)
		require.NoError(t, err)
		return out.Run(d.ctx)
	}
	expect := func(err error, why unix.Errno, text string) {
		t.Helper()
		var notes *NotesError
		require.ErrorAs(t, err, &notes)
		require.ErrorIs(t, err, ErrNotes)
		require.ErrorIs(t, err, why)
		require.Equal(t, filepath.Join(dir, ".r.chain"), notes.Path)
		require.EqualValues(t, chainSize, notes.Size)
		require.ErrorContains(t, err, text)
	}
	expect(run(), unix.ENOSPC, "make room for 278592 bytes there")
	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	expect(run(), unix.EROFS, "that this user may write into")
	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "size=64k"))

	// In is no other, and its ring takes what others send meanwhile.
	filler, err := os.Create(filepath.Join(dir, "filler"))
	require.NoError(t, err)
	require.NoError(t, unix.Fallocate(int(filler.Fd()), 0, 0, 64<<10))
	require.NoError(t, filler.Close())
	in, err := NewIn(d.nc, "other", &InOptions{Durable: "d", Common: d.o.Common})
	require.NoError(t, err)
	err = in.Run(d.ctx)
	require.ErrorIs(t, err, ErrNotes)
	require.ErrorIs(t, err, unix.ENOSPC)

	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "size=1m"))
	require.Len(t, d.positions(0), 5, "nothing was released")
	require.NoError(t, p.Close())
	require.NoError(t, run())
	info, err := d.stream.Info(d.ctx)
	require.NoError(t, err)
	require.EqualValues(t, 3, info.State.LastSeq, "the messages, an end, and the end of all")
}

// What a full disk, or one that was killed, left of a new file of notes is taken up; what is no such thing is not.
func TestHalfAFileOfNotes(t *testing.T) {
	for name, c := range map[string]struct {
		left []byte
		good bool
	}{
		"nothing": {nil, true}, "some zeros": {make([]byte, 100), true}, "all of them": {make([]byte, markSize), true},
		"more": {make([]byte, markSize+1), false}, "some text": {append(make([]byte, 100), 'x'), false},
	} {
		path := filepath.Join(t.TempDir(), "m")
		require.NoError(t, os.WriteFile(path, c.left, 0o600))
		m, err := openMark(path)
		if !c.good {
			require.ErrorIs(t, err, ErrMark, name)
			continue
		}
		require.NoError(t, err, name)
		require.NoError(t, m.close())
		st, err := os.Stat(path)
		require.NoError(t, err)
		require.EqualValues(t, markSize, st.Size(), name)
	}
}
