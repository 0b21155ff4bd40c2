package relay_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/relay"
	"github.com/shmring/shmring/relay/embed"
)

func (r *rig) js() jetstream.JetStream {
	js, err := jetstream.New(r.nc)
	require.NoError(r.t, err)
	return js
}

func (r *rig) stream(name string) jetstream.Stream {
	s, err := r.js().Stream(deadline(r.t), name)
	require.NoError(r.t, err)
	return s
}

// What a server does not take stays in its ring, with all behind it; what is before it is stored.
func TestPayloadOverTheServersLimit(t *testing.T) {
	r := newRig(t, &embed.Options{MaxPayload: 2048})
	p := r.producer("a", shmring.Options{})
	produce(t, p, 0, 3)
	require.NoError(t, p.Send(deadline(t), make([]byte, 4000)))
	produce(t, p, 4, 5)
	out, runs := r.out("a", relay.OutOptions{})
	err := runs.wait(t)
	var refused *relay.PayloadError
	require.ErrorAs(t, err, &refused)
	require.ErrorIs(t, err, relay.ErrPayload)
	require.Equal(t, 2048, refused.Max)
	require.Greater(t, refused.Size, 4000)
	require.ErrorContains(t, err, "raise max_payload")
	require.EqualValues(t, 3, out.Stats().Messages)
	c := r.consumer("a", shmring.Options{})
	m, err := c.Next(deadline(t))
	require.NoError(t, err)
	require.Equal(t, 4000, m.Len())
}

// Headers count: the server's own answer would be the end of the connection.
func TestPayloadLimitCountsHeaders(t *testing.T) {
	for size := 1500; size < 2048; size += 37 {
		r := newRig(t, &embed.Options{MaxPayload: 2048})
		p := r.producer("a", shmring.Options{})
		require.NoError(t, p.Send(deadline(t), make([]byte, size)))
		require.NoError(t, p.Close())
		_, runs := r.out("a", relay.OutOptions{UntilEnd: true})
		if err := runs.wait(t); err != nil {
			require.ErrorIs(t, err, relay.ErrPayload)
		} else {
			require.EqualValues(t, 3, r.stream("a").CachedInfo().State.Msgs)
		}
		if size > 2000 {
			return
		}
		size += 100
	}
}

func TestSomebodyElseWrites(t *testing.T) {
	r := newRig(t, nil)
	p := r.producer("a", shmring.Options{})
	out, runs := r.out("a", relay.OutOptions{Origin: "me"})
	produce(t, p, 0, 3)
	require.Eventually(t, func() bool { return out.Stats().Messages == 3 }, within, time.Millisecond)
	_, err := r.js().Publish(deadline(t), "shmring.a", []byte("hello"))
	require.NoError(t, err)
	produce(t, p, 3, 4)
	err = runs.wait(t)
	require.ErrorIs(t, err, relay.ErrWriter)
	require.ErrorContains(t, err, "message 4 is of no relay, and only me may write there")
	require.Len(t, remaining2(t, r, "a"), 1, "what was not stored is still there")

	_, runs = r.out("a", relay.OutOptions{Origin: "me"})
	require.ErrorIs(t, runs.wait(t), relay.ErrWriter, "from the beginning, too")
}

// remaining2 is what is in a ring, redelivered or not.
func remaining2(t *testing.T, r *rig, name string) (all []shmring.Position) {
	c := r.consumer(name, shmring.Options{})
	for {
		m, err := c.TryNext()
		if err != nil {
			require.Equal(t, shmring.ErrEmpty, err)
			require.NoError(t, c.Close())
			return all
		}
		all = append(all, m.Position())
	}
}

// handOut makes a consumer see messages that it does not release, as one that is killed does.
func handOut(t *testing.T, r *rig, name string, n int) {
	c := r.consumer(name, shmring.Options{})
	for range n {
		_, err := c.Next(deadline(t))
		require.NoError(t, err)
	}
	require.NoError(t, c.Close())
}

func TestPositionIsLost(t *testing.T) {
	r := newRig(t, nil)
	p := r.producer("a", shmring.Options{})
	out, runs := r.out("a", relay.OutOptions{})
	produce(t, p, 0, 3)
	require.Eventually(t, func() bool { return out.Stats().Messages == 3 }, within, time.Millisecond)
	runs.stop()
	require.NoError(t, runs.wait(t))
	require.NoError(t, r.stream("a").Purge(deadline(t)))

	// Nothing was under way: what comes next is new, whatever the stream has forgotten.
	produce(t, p, 3, 5)
	out, runs = r.out("a", relay.OutOptions{})
	require.Eventually(t, func() bool { return out.Stats().Messages == 2 }, within, time.Millisecond)
	runs.stop()
	require.NoError(t, runs.wait(t))
	require.NoError(t, r.stream("a").Purge(deadline(t)))

	produce(t, p, 5, 7)
	handOut(t, r, "a", 1)
	_, runs = r.out("a", relay.OutOptions{})
	err := runs.wait(t)
	var lost *relay.PositionLostError
	require.ErrorAs(t, err, &lost)
	require.ErrorIs(t, err, relay.ErrPositionLost)
	require.EqualValues(t, 5, lost.Sequence)

	out, _ = r.out("a", relay.OutOptions{Resend: true})
	require.Eventually(t, func() bool { return out.Stats().Messages == 2 }, within, time.Millisecond)
	m, err := r.stream("a").GetMsg(deadline(t), 6)
	require.NoError(t, err)
	from, err := relay.ParseSender(m.Header.Get(relay.HeaderSender))
	require.NoError(t, err)
	require.True(t, from.Redelivered)
}

func TestStreamIsRewound(t *testing.T) {
	r := newRig(t, nil)
	p := r.producer("a", shmring.Options{})
	out, outRuns := r.out("a", relay.OutOptions{})
	in, inRuns := r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a"}})
	c := r.consumer("b", shmring.Options{})
	produce(t, p, 0, 3)
	consume(t, c, 0, 3)
	require.Eventually(t, func() bool { return out.Stats().Messages == 3 }, within, time.Millisecond)
	inRuns.stop()
	require.NoError(t, inRuns.wait(t))
	require.EqualValues(t, 3, in.Stats().Sequence)
	cfg := r.stream("a").CachedInfo().Config
	require.NoError(t, r.js().DeleteStream(deadline(t), "a"))
	_, err := r.js().CreateStream(deadline(t), cfg)
	require.NoError(t, err)
	produce(t, p, 3, 4)
	err = outRuns.wait(t)
	require.ErrorIs(t, err, relay.ErrRewound)
	require.ErrorContains(t, err, "its last message is 0, and there was a message 3")

	_, inRuns = r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a"}})
	err = inRuns.wait(t)
	require.ErrorIs(t, err, relay.ErrReplaced)
	require.ErrorContains(t, err, filepath.Join(r.dir, ".b.d.mark"))
}

func TestGaps(t *testing.T) {
	r := newRig(t, nil)
	p := r.producer("a", shmring.Options{})
	out, _ := r.out("a", relay.OutOptions{})
	_, first := r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a"}})
	c := r.consumer("b", shmring.Options{})
	produce(t, p, 0, 2)
	consume(t, c, 0, 2)
	first.stop()
	require.NoError(t, first.wait(t))
	produce(t, p, 2, 6)
	require.Eventually(t, func() bool { return out.Stats().Messages == 6 }, within, time.Millisecond)
	require.NoError(t, r.stream("a").Purge(deadline(t), jetstream.WithPurgeSequence(5)))

	in, runs := r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a"}})
	err := runs.wait(t)
	require.ErrorIs(t, err, relay.ErrGap)
	require.ErrorContains(t, err, "messages 3 to 4 are gone and were not read")
	require.Zero(t, in.Stats().Messages, "nothing was sent behind a gap")

	in, _ = r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a"}, SkipGaps: true})
	consume(t, c, 4, 6)
	require.EqualValues(t, 2, in.Stats().Missing)
}

// A message that was lost on its way to an In that is gone is fetched, and one that comes again is not sent again.
func TestAgainAndLostOnTheirWay(t *testing.T) {
	r := newRig(t, nil)
	p := r.producer("a", shmring.Options{})
	out, _ := r.out("a", relay.OutOptions{})
	produce(t, p, 0, 10)
	require.Eventually(t, func() bool { return out.Stats().Messages == 10 }, within, time.Millisecond)
	cons, err := r.js().CreateConsumer(deadline(t), "a", jetstream.ConsumerConfig{
		Durable: "d", AckPolicy: jetstream.AckAllPolicy, AckWait: 500 * time.Millisecond})
	require.NoError(t, err)
	batch, err := cons.Fetch(5) // and forgets them
	require.NoError(t, err)
	for range batch.Messages() {
	}
	in, _ := r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a"}})
	consume(t, r.consumer("b", shmring.Options{}), 0, 10)
	require.EqualValues(t, 5, in.Stats().Fetched)
	// Behind the commit of the last, which the consumer may be quicker to see.
	require.Eventually(t, func() bool { return in.Stats().Messages == 10 }, soon, time.Millisecond)
}

// In a work queue what an In was given that is gone, and what it has sent, leaves the stream as soon as another has
// looked: nobody waits until the server gives it again, which is an hour here.
func TestWorkQueueOfOneThatIsGone(t *testing.T) {
	r := newRig(t, nil)
	p := r.producer("a", shmring.Options{})
	out, _ := r.out("a", relay.OutOptions{Create: &jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}})
	produce(t, p, 0, 10)
	require.Eventually(t, func() bool { return out.Stats().Messages == 10 }, within, time.Millisecond)
	cons, err := r.js().CreateConsumer(deadline(t), "a", jetstream.ConsumerConfig{
		Durable: "d", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Hour})
	require.NoError(t, err)
	left := func(first, last uint64) func() bool {
		return func() bool {
			info, err := r.stream("a").Info(deadline(t))
			require.NoError(t, err)
			return info.State.FirstSeq == first && info.State.LastSeq == last && info.State.Msgs == last-first+1
		}
	}
	batch, err := cons.Fetch(5) // and forgets them
	require.NoError(t, err)
	for range batch.Messages() {
	}
	in := func() *running {
		_, runs := r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a"}})
		return runs
	}
	runs := in()
	c := r.consumer("b", shmring.Options{})
	consume(t, c, 0, 10)
	require.Eventually(t, left(10, 10), within, time.Millisecond, "the newest stays, and nothing else")
	runs.stop()
	require.NoError(t, runs.wait(t))

	in()
	produce(t, p, 10, 11)
	consume(t, c, 10, 11)
	require.Eventually(t, left(11, 11), within, time.Millisecond, "what the one before had as its newest")
}

func TestTwoOfOneName(t *testing.T) {
	r := newRig(t, nil)
	o := relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a", Ring: shmring.Options{Kind: shmring.KindMPSC}}}
	r.producer("a", shmring.Options{})
	r.out("a", relay.OutOptions{})
	_, first := r.in("b", o)
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(r.dir, ".b.d.mark")); return err == nil }, within,
		time.Millisecond)
	_, second := r.in("b", o)
	var err error
	select { // the file is there before it is locked, so it may be the second that has it
	case err = <-first.done:
	case err = <-second.done:
	case <-time.After(within):
		require.FailNow(t, "none of the two ends")
	}
	require.ErrorIs(t, err, relay.ErrBusy)
	require.ErrorContains(t, err, "each needs a durable name of its own")
}

func TestMessageThatDoesNotFitIntoTheRing(t *testing.T) {
	r := newRig(t, nil)
	p := r.producer("a", shmring.Options{})
	r.out("a", relay.OutOptions{})
	require.NoError(t, p.Send(deadline(t), make([]byte, 5000)))
	_, runs := r.in("b", relay.InOptions{Durable: "d",
		Common: relay.Common{Stream: "a", Ring: shmring.Options{MaxMessage: 1000}}})
	require.ErrorIs(t, runs.wait(t), shmring.ErrTooLarge)
	require.NoError(t, os.Remove(filepath.Join(r.dir, "b.shmring")))
	r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a"}})
	m, err := r.consumer("b", shmring.Options{}).Next(deadline(t))
	require.NoError(t, err)
	require.Equal(t, 5000, m.Len(), "it was kept")
}

// What other programs publish is relayed as it is, and what looks like a relay's and is none is an error.
func TestForeignMessages(t *testing.T) {
	r := newRig(t, nil)
	_, err := r.js().CreateStream(deadline(t), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	require.NoError(t, err)
	publish := func(data string, header ...string) {
		h := nats.Header{}
		for i := 0; i < len(header); i += 2 {
			h[header[i]] = []string{header[i+1]}
		}
		_, err := r.js().PublishMsg(deadline(t), &nats.Msg{Subject: "s.x", Data: []byte(data), Header: h})
		require.NoError(t, err)
	}
	sender := relay.Sender{Ring: "x"}.String()
	publish("hello")
	for i, bad := range [][]string{
		{relay.HeaderEnd, "all"},
		{relay.HeaderEnd, "vanished", relay.HeaderSender, sender},
		{relay.HeaderPacked, "1"},
		{relay.HeaderPacked, "2", relay.HeaderSender, sender},
		{relay.HeaderPacked, "-1", relay.HeaderSender, sender},
		{relay.HeaderSender, "x"},
		{relay.HeaderSender, relay.Sender{Ring: "x", First: true}.String()},
	} {
		publish("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", bad...)
		in, runs := r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "S"}, SkipGaps: true})
		require.ErrorIs(t, runs.wait(t), relay.ErrWire, "%v", bad)
		if i == 0 {
			require.EqualValues(t, 1, in.Stats().Messages)
		}
		require.NoError(t, r.stream("S").DeleteMsg(deadline(t), uint64(i+2)))
	}
	m, err := r.consumer("b", shmring.Options{}).Next(deadline(t))
	require.NoError(t, err)
	require.Equal(t, "hello", string(m.Bytes()))
}

// A stream that is full is waited for: nothing is lost, and somebody is told. Each answer of the server is acted upon
// when it comes: none is waited out.
func TestServerIsFull(t *testing.T) {
	r := newRig(t, nil)
	cfg := jetstream.StreamConfig{MaxBytes: 8 << 10, Discard: jetstream.DiscardNew}
	var told atomic.Pointer[error]
	p := r.producer("a", shmring.Options{})
	out, runs := r.out("a", relay.OutOptions{Create: &cfg, AckTimeout: time.Hour, Common: relay.Common{
		OnTrouble: func(err error) {
			if err != nil {
				told.Store(&err)
			}
		}}})
	produce(t, p, 0, 100)
	require.Eventually(t, func() bool { return told.Load() != nil }, soon, time.Millisecond)
	require.ErrorIs(t, *told.Load(), relay.ErrServer)
	require.Eventually(t, func() bool {
		return (*told.Load()).Error() == "relay: store in a: nats: API error: code=503 err_code=10077 "+
			"description=maximum bytes exceeded: nothing more fits into the server's store, or into the limits of the stream: "+
			"nothing is lost, make room"
	}, soon, time.Millisecond, "%v", *told.Load())
	cfg = r.stream("a").CachedInfo().Config
	cfg.MaxBytes = -1
	_, err := r.js().UpdateStream(deadline(t), cfg)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return out.Stats().Messages == 100 }, soon, time.Millisecond)
	require.EqualValues(t, 100, r.stream("a").CachedInfo().State.Msgs)
	runs.stop()
	require.NoError(t, runs.wait(t))

	_, runs = r.out("a", relay.OutOptions{Common: relay.Common{Patience: time.Millisecond}})
	cfg.MaxBytes = 1
	cfg.Discard = jetstream.DiscardNew
	_, err = r.js().UpdateStream(deadline(t), cfg)
	require.NoError(t, err)
	produce(t, p, 100, 101)
	require.ErrorIs(t, runs.wait(t), relay.ErrServer, "patience has an end, if there is one")
	require.Len(t, remaining2(t, r, "a"), 1, "what was sent and not stored was not released")
}

// A server whose store is full, whatever the stream may have, is waited for as well.
func TestServersStoreIsFull(t *testing.T) {
	r := newRig(t, &embed.Options{MaxStore: 64 << 10})
	var told atomic.Pointer[error]
	p := r.producer("a", shmring.Options{})
	out, runs := r.out("a", relay.OutOptions{AckTimeout: 200 * time.Millisecond, Common: relay.Common{
		OnTrouble: func(err error) {
			if err != nil {
				told.Store(&err)
			}
		}}})
	const n = 100
	for range n {
		require.NoError(t, p.Send(deadline(t), make([]byte, 2000)))
	}
	require.Eventually(t, func() bool {
		err := told.Load()
		return err != nil && strings.Contains((*err).Error(), "nothing is lost, make room")
	}, within, time.Millisecond)
	require.ErrorIs(t, *told.Load(), relay.ErrServer)
	require.Less(t, out.Stats().Messages, uint64(n))
	for out.Stats().Messages < n { // room is made as it is needed: the newest message stays
		info, err := r.stream("a").Info(deadline(t))
		require.NoError(t, err)
		require.NoError(t, r.stream("a").Purge(deadline(t), jetstream.WithPurgeSequence(info.State.LastSeq)))
	}
	require.EqualValues(t, n, r.stream("a").CachedInfo().State.LastSeq, "each once")
	runs.stop()
	require.NoError(t, runs.wait(t))
}

// An account that may ask, and not write, read or acknowledge, is told so as well: those are not answered.
func TestPermissionsOfMessages(t *testing.T) {
	user := func(name, deny string) *server.User {
		return &server.User{Username: name, Password: "p", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: []string{deny}}}}
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), Users: []*server.User{user("all", "none"), user("write", "shmring.>"),
			user("read", "$JS.API.CONSUMER.MSG.NEXT.>"), user("ack", "$JS.ACK.>")}})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(s.Shutdown)
	require.True(t, s.ReadyForConnections(within))
	r := &rig{t: t, dir: t.TempDir()}
	as := func(name string) {
		r.nc, err = nats.Connect(s.ClientURL(), nats.UserInfo(name, "p"),
			nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		require.NoError(t, err)
		t.Cleanup(r.nc.Close)
	}
	refused := func(runs *running) {
		err := runs.wait(t)
		require.ErrorIs(t, err, relay.ErrRefused)
		require.ErrorIs(t, err, nats.ErrPermissionViolation)
		require.ErrorContains(t, err, "the account may not do that: grant it")
	}
	produce(t, r.producer("a", shmring.Options{}), 0, 3)
	as("write")
	out, runs := r.out("a", relay.OutOptions{AckTimeout: 50 * time.Millisecond})
	refused(runs)
	require.Zero(t, out.Stats().Messages)
	as("all")
	out, _ = r.out("a", relay.OutOptions{})
	require.Eventually(t, func() bool { return out.Stats().Messages == 3 }, within, time.Millisecond, "all is there still")
	for _, name := range []string{"read", "ack"} {
		as(name)
		_, runs = r.in(name, relay.InOptions{Durable: name, Common: relay.Common{Stream: "a"}})
		refused(runs)
	}
}

// An account that may not is told so, and not waited for.
func TestPermissions(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), Users: []*server.User{{Username: "u", Password: "p",
			Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API.>"}}}}}})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(s.Shutdown)
	require.True(t, s.ReadyForConnections(within))
	nc, err := nats.Connect(
		s.ClientURL(),
		nats.UserInfo("u", "p"),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	r := &rig{t: t, dir: t.TempDir(), nc: nc}
	r.producer("a", shmring.Options{})
	_, runs := r.out("a", relay.OutOptions{})
	err = runs.wait(t)
	require.ErrorIs(t, err, relay.ErrRefused)
	require.ErrorContains(t, err, "the account may not do that")
	_, runs = r.in("b", relay.InOptions{Durable: "d"})
	require.ErrorIs(t, runs.wait(t), relay.ErrRefused)
}

// A stream that keeps what somebody is to read keeps nothing before there is one.
func TestInterestWithoutAReader(t *testing.T) {
	r := newRig(t, nil)
	var told atomic.Int64
	p := r.producer("a", shmring.Options{})
	out, _ := r.out("a", relay.OutOptions{Create: &jetstream.StreamConfig{Retention: jetstream.InterestPolicy},
		Common: relay.Common{OnTrouble: func(err error) {
			if err != nil {
				told.Add(1)
			}
		}}})
	produce(t, p, 0, 3)
	require.Eventually(t, func() bool { return told.Load() > 1 }, within, time.Millisecond)
	require.Zero(t, out.Stats().Stored)
	r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a"}})
	consume(t, r.consumer("b", shmring.Options{}), 0, 3)
	require.Eventually(t, func() bool { return out.Stats().Messages == 3 }, within, time.Millisecond)
}

func TestNoCreate(t *testing.T) {
	r := newRig(t, nil)
	r.producer("a", shmring.Options{})
	_, runs := r.out("a", relay.OutOptions{NoCreate: true})
	err := runs.wait(t)
	require.ErrorIs(t, err, relay.ErrRefused)
	require.ErrorContains(t, err, "create it first")
}

func TestMarkFileIsSomebodysElse(t *testing.T) {
	r := newRig(t, nil)
	path := filepath.Join(r.dir, ".b.d.mark")
	r.producer("a", shmring.Options{})
	r.out("a", relay.OutOptions{})
	for _, text := range [][]byte{[]byte("short"), binary.LittleEndian.AppendUint64(nil, 7)} {
		text = append(text, make([]byte, 4096-len(text)*int(text[0]&1^1))...)
		require.NoError(t, os.WriteFile(path, text, 0o600))
		_, runs := r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a"}})
		err := runs.wait(t)
		require.ErrorIs(t, err, relay.ErrMark)
		require.ErrorContains(t, err, path)
	}
}
