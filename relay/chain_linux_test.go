package relay

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/relay/embed"
)

// Whenever a process is killed that notes what it sends, the file has what it has sent, without a gap.
func TestChainAtEachStep(t *testing.T) {
	dir := t.TempDir()
	c, err := openChain(dir, "r")
	require.NoError(t, err)
	require.False(t, c.of([16]byte{1}, 7), "a new file has nothing in it")
	require.Empty(t, c.after(0))

	links := []link{
		{seq: 8, position: shmring.Position{Record: 1 << 40, Index: 1<<32 - 1}, packed: true},
		{seq: 9, nowhere: true, end: &end{all: true}},
		{seq: 10, position: shmring.Position{Record: 3}, end: &end{StreamEnd: shmring.StreamEnd{
			Fate: shmring.FateDied, Producer: 255, Epoch: 1<<32 - 1, PID: 1<<31 - 1, Streams: 3}}},
	}
	for i := range links {
		c.add(&links[i])
	}
	require.Equal(t, links, c.after(7))
	require.Equal(t, links[2:], c.after(9))
	require.Empty(t, c.after(10))
	require.Empty(t, c.after(6), "7 is not there")

	// Killed while the next is being written.
	c.word(c.at(11)).Store(0)
	c.word(c.at(11) + atRecord).Store(99)
	require.Equal(t, links, c.after(7))

	// It goes round, and what was there before is not taken for what is.
	c.add(&link{seq: 8 + chainLength})
	require.Empty(t, c.after(7))
	require.Equal(t, links[1:], c.after(8))
	c.cut(10)
	require.Equal(t, links[1:2], c.after(8))

	c.owe(shmring.StreamEnd{Fate: shmring.FateFailed, Producer: 3, Epoch: 4, Streams: 1})
	c.owe(shmring.StreamEnd{Fate: shmring.FateEnded, Producer: 3, Epoch: 5, Streams: 1})
	owed := []shmring.StreamEnd{{Fate: shmring.FateFailed, Producer: 3, Epoch: 5, Streams: 2}}
	require.Equal(t, owed, c.owed())
	_, err = openChain(dir, "r")
	require.ErrorIs(t, err, ErrBusy)
	require.NoError(t, c.close())

	c, err = openChain(dir, "r")
	require.NoError(t, err)
	defer c.close()
	require.False(t, c.of([16]byte{1}, 7))
	require.Equal(t, links[1:2], c.after(8))
	require.Equal(t, owed, c.owed())
	c.paid(&owed[0])
	require.Empty(t, c.owed())
	require.True(t, c.of([16]byte{1}, 8), "of another stream, and something may be on its way")
	require.Empty(t, c.after(8))
	require.False(t, c.of([16]byte{2}, 8), "of another ring, but nothing was noted")
}

// served is a server of its own for a test, with a stream.
func served(ctx context.Context, t testing.TB, cfg jetstream.StreamConfig) (*nats.Conn, jetstream.JetStream,
	jetstream.Stream) {
	t.Helper()
	server, err := embed.Start(ctx, t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	nc, err := nats.Connect(server.URL())
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	stream, err := js.CreateStream(ctx, cfg)
	require.NoError(t, err)
	return nc, js, stream
}

// divided is a server, a ring, and what an Out that was killed may have noted of both.
type divided struct {
	t      *testing.T
	ctx    context.Context
	nc     *nats.Conn
	stream jetstream.Stream
	o      OutOptions
}

func newDivided(t *testing.T, kind shmring.Kind) *divided {
	d := &divided{t: t}
	var cancel context.CancelFunc
	d.ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	d.nc, _, d.stream = served(d.ctx, t, jetstream.StreamConfig{Name: "r", Subjects: []string{"s", "s.end.*"}})
	d.o = OutOptions{Subject: "s", Pack: true, UntilEnd: true, Common: Common{
		Ring: shmring.Options{Dir: t.TempDir(), Kind: kind}}}
	return d
}

func (d *divided) producer() *shmring.Producer {
	o := d.o.Ring
	p, err := shmring.OpenProducer(d.ctx, "r", &o)
	require.NoError(d.t, err)
	return p
}

// positions are those of the messages in the ring, of which released are released.
func (d *divided) positions(released int) (list []shmring.Position) {
	o := d.o.Ring
	o.Kind = 0
	c, err := shmring.OpenConsumer(d.ctx, "r", &o)
	require.NoError(d.t, err)
	defer c.Close()
	for {
		m, err := c.TryNext()
		if err != nil {
			require.ErrorIs(d.t, err, shmring.ErrEmpty)
			return list
		}
		if list = append(list, m.Position()); len(list) <= released {
			m.Release()
		}
	}
}

// note notes it as sent.
func (d *divided) note(ring [16]byte, links ...link) {
	c, err := openChain(d.o.Ring.Dir, "r")
	require.NoError(d.t, err)
	c.of(ring, uint64(d.stream.CachedInfo().Created.UnixNano()))
	for i := range links {
		c.add(&links[i])
	}
	require.NoError(d.t, c.close())
}

// run relays until the end, and returns how many messages, or which end, each message of the stream has. All of them
// were noted.
func (d *divided) run() (list []string) {
	out, err := NewOut(d.nc, "r", &d.o)
	require.NoError(d.t, err)
	require.NoError(d.t, out.Run(d.ctx))
	info, err := d.stream.Info(d.ctx)
	require.NoError(d.t, err)
	c, err := openChain(d.o.Ring.Dir, "r")
	require.NoError(d.t, err)
	defer c.close()
	noted := c.after(0)
	require.Len(d.t, noted, int(info.State.LastSeq))
	for _, l := range noted {
		m, err := d.stream.GetMsg(d.ctx, l.seq)
		require.NoError(d.t, err)
		from, err := senderOf(m.Header)
		require.NoError(d.t, err)
		require.Equal(d.t, l.position, from.Position)
		require.Equal(d.t, l.packed, get(m.Header, HeaderPacked) != "")
		list = append(list, get(m.Header, HeaderPacked)+get(m.Header, HeaderEnd))
	}
	return list
}

// What an Out may have sent before it was killed, and is perhaps on its way still, its successor divides as it did:
// else one of them could be taken by the server behind one of the other.
func TestDividedAsNoted(t *testing.T) {
	send := func(d *divided, p *shmring.Producer, n int) {
		for range n {
			require.NoError(d.t, p.Send(d.ctx, []byte("m")))
		}
	}
	t.Run("messages and an end", func(t *testing.T) {
		d := newDivided(t, shmring.KindMPSC)
		p := d.producer()
		send(d, p, 6)
		at, info := d.positions(0), p.Info()
		d.note(info.UUID,
			link{seq: 1, position: at[2], packed: true},
			link{seq: 2, position: at[2], end: &end{
				StreamEnd: shmring.StreamEnd{Fate: shmring.FateDied, Producer: 9, Epoch: 3}}},
			link{seq: 3, position: at[3]},
			link{seq: 4, position: at[4], packed: true})
		require.NoError(t, p.Close())
		require.Equal(t, []string{"3", "died", "", "1", "1", "ended", "all"}, d.run())
	})
	t.Run("an end that comes earlier than it did", func(t *testing.T) {
		d := newDivided(t, shmring.KindMPSC)
		first, second := d.producer(), d.producer()
		send(d, first, 2)
		require.NoError(t, first.FailSend())
		send(d, second, 3)
		d.note(first.Info().UUID, link{seq: 1, position: shmring.Position{Record: 3}, packed: true})
		require.NoError(t, first.Close())
		require.NoError(t, second.Close())
		require.Equal(t, []string{"4", "1", "failed", "ended", "all"}, d.run())
	})
	t.Run("somebody else has taken them", func(t *testing.T) {
		d := newDivided(t, shmring.KindSPSC)
		p := d.producer()
		send(d, p, 5)
		at, info := d.positions(3), p.Info()
		d.note(info.UUID, link{seq: 1, position: at[2], packed: true}, link{seq: 2, position: at[3], packed: true},
			link{seq: 3, position: at[4]}, link{seq: 4, position: at[4], end: &end{all: true}})
		require.NoError(t, p.Close())
		require.Equal(t, []string{"2", "ended", "all"}, d.run(), "and what was noted is forgotten")
	})
	t.Run("of a ring that is gone", func(t *testing.T) {
		d := newDivided(t, shmring.KindSPSC)
		p := d.producer()
		send(d, p, 5)
		d.note([16]byte{1}, link{seq: 1, position: d.positions(0)[2], packed: true})
		require.NoError(t, p.Close())
		require.Equal(t, []string{"5", "ended", "all"}, d.run())
	})
}

// An Out whose messages are refused, because older ones came in between, goes on behind those.
func TestLateMessages(t *testing.T) {
	d := newDivided(t, shmring.KindSPSC)
	p := d.producer()
	for n := range 6 {
		require.NoError(t, p.Send(d.ctx, []byte{byte(n)}))
	}
	at, info := d.positions(0), p.Info()
	late := []link{{seq: 1, position: at[1], packed: true}, {seq: 2, position: at[3], packed: true}}
	d.note(info.UUID, late...)
	require.NoError(t, p.Close())
	// As the one before sent it, under the sequences that it had noted, while its successor begins.
	from := 0
	for _, l := range late {
		m := &nats.Msg{Subject: "s", Header: nats.Header{HeaderPacked: {"2"},
			nats.ExpectedLastSeqHdr: {[]string{"0", "1"}[l.seq-1]}}}
		host, err := d.o.orDefault("r")
		require.NoError(t, err)
		whose := Sender{Ring: ringID(info.UUID), Position: l.position, Origin: host.Origin}
		m.Header[HeaderSender] = []string{whose.String()}
		var before shmring.Position
		for i := range 2 {
			e := entry{position: at[from+i], data: []byte{byte(from + i)}}
			m.Data = pack(m.Data, &e, before)
			before = e.position
		}
		from += 2
		require.NoError(t, d.nc.PublishMsg(m))
	}
	require.Equal(t, []string{"2", "2", "2", "ended", "all"}, d.run())
}

// An Out that was killed when an end was stored, and before the ring had noted that it was told, is told of it again.
func TestEndIsStoredOnce(t *testing.T) {
	d := newDivided(t, shmring.KindMPSC)
	p := d.producer()
	require.NoError(t, p.Send(d.ctx, []byte("m")))
	require.NoError(t, p.FailSend())
	q := d.producer()
	path := p.Info().Path
	require.NoError(t, p.Close())
	require.NoError(t, q.Close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	list := d.run()
	require.Equal(t, []string{"1", "failed", "ended", "all"}, list)
	require.NoError(t, os.WriteFile(path, before, 0o600))
	require.Equal(t, list, d.run(), "nothing is stored again")
}

// An end that is owed stays so when the server takes nothing, and when it does not answer at all.
func TestOwedEndSurvivesAnError(t *testing.T) {
	d := newDivided(t, shmring.KindMPSC)
	p := d.producer()
	owed := shmring.StreamEnd{Fate: shmring.FateDied, Producer: 9, Epoch: 3}
	d.owe(p.Info().UUID, owed)
	d.limit(1)
	d.o.Patience = time.Millisecond
	out, err := NewOut(d.nc, "r", &d.o)
	require.NoError(t, err)
	require.ErrorIs(t, out.Run(d.ctx), ErrServer)

	out, err = NewOut(d.nc, "r", &d.o)
	require.NoError(t, err)
	out.chain, err = openChain(d.o.Ring.Dir, "r")
	require.NoError(t, err)
	out.stream, out.ends, out.owes = d.stream, map[int]uint32{}, true
	ctx, cancel := context.WithCancel(d.ctx)
	cancel()
	out.ctx = ctx
	out.chain.owe(owed) // as if the one above had not come as far as to send it
	require.Error(t, out.storeOwed())
	require.Equal(t, []shmring.StreamEnd{owed}, out.chain.owed())
	require.NoError(t, out.chain.close())

	d.limit(-1)
	d.o.Patience = 0
	require.NoError(t, p.Close())
	out, err = NewOut(d.nc, "r", &d.o)
	require.NoError(t, err)
	require.NoError(t, out.Run(d.ctx))
	require.Equal(t, []string{"died", "ended", "all"}, d.list(""))
}

// owe notes that an end is owed.
func (d *divided) owe(ring [16]byte, e shmring.StreamEnd) {
	c, err := openChain(d.o.Ring.Dir, "r")
	require.NoError(d.t, err)
	c.of(ring, uint64(d.stream.CachedInfo().Created.UnixNano()))
	c.owe(e)
	require.NoError(d.t, c.close())
}

// limit makes the stream refuse what goes over so many bytes. -1: nothing.
func (d *divided) limit(bytes int64) {
	js, err := jetstream.New(d.nc)
	require.NoError(d.t, err)
	cfg := d.stream.CachedInfo().Config
	cfg.MaxBytes, cfg.Discard = bytes, jetstream.DiscardNew
	_, err = js.UpdateStream(d.ctx, cfg)
	require.NoError(d.t, err)
}

// A ring that is removed while an Out sends again what was noted, of which not all is there, and owes an end: what was
// taken is stored, then the end, and the ring that is made anew comes behind them.
func TestRingRemovedWhileAnEndIsOwed(t *testing.T) {
	d := newDivided(t, shmring.KindMPSC)
	p := d.producer()
	for range 3 {
		require.NoError(t, p.Send(d.ctx, []byte("old")))
	}
	first := p.Info()
	d.note(first.UUID, link{seq: 1, position: d.positions(0)[1], packed: true},
		link{seq: 2, position: shmring.Position{Record: 1 << 20}, packed: true})
	d.owe(first.UUID, shmring.StreamEnd{Fate: shmring.FateDied, Producer: 9, Epoch: 3})
	out, err := NewOut(d.nc, "r", &d.o)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- out.Run(d.ctx) }()
	reached := func(seq uint64) {
		require.Eventually(t, func() bool {
			info, err := d.stream.Info(d.ctx)
			return err == nil && info.State.LastSeq >= seq
		}, time.Minute, time.Millisecond)
	}
	reached(1) // it waits for the rest of the second
	require.NoError(t, os.Remove(first.Path))
	q := d.producer()
	require.NoError(t, q.Send(d.ctx, []byte("new")))
	reached(4)
	require.ErrorIs(t, p.Close(), shmring.ErrOrphaned) // not before: it would have ended its stream
	require.NoError(t, q.Close())
	require.NoError(t, <-done)
	require.Equal(t, []string{"2", "1", "died", "new 1", "new ended", "new all"}, d.list(ringID(first.UUID)))
}

// list is how many messages, or which end, each message of the stream has, of which ring's, if not of all of one.
func (d *divided) list(ring string) (list []string) {
	info, err := d.stream.Info(d.ctx)
	require.NoError(d.t, err)
	for seq := range info.State.LastSeq {
		m, err := d.stream.GetMsg(d.ctx, seq+1)
		require.NoError(d.t, err)
		what := get(m.Header, HeaderPacked) + get(m.Header, HeaderEnd)
		from, err := senderOf(m.Header)
		require.NoError(d.t, err)
		if ring != "" && from.Ring != ring {
			what = "new " + what
		}
		list = append(list, what)
	}
	return list
}
