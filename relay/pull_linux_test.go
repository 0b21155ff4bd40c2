package relay

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// pulled is a stream with messages, and a durable consumer of it.
type pulled struct {
	t        *testing.T
	ctx      context.Context
	nc       *nats.Conn
	stream   jetstream.Stream
	consumer jetstream.Consumer
	taken    uint64
}

func newPulled(t *testing.T, cfg jetstream.ConsumerConfig) *pulled {
	p := &pulled{t: t}
	var cancel context.CancelFunc
	p.ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	p.nc, _, p.stream = served(p.ctx, t, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	cfg.Durable, cfg.AckPolicy = "d", jetstream.AckAllPolicy
	var err error
	p.consumer, err = p.stream.CreateConsumer(p.ctx, cfg)
	require.NoError(t, err)
	return p
}

func (p *pulled) publish(n, size int) {
	for range n {
		require.NoError(p.t, p.nc.Publish("s", make([]byte, size)))
	}
	require.NoError(p.t, p.nc.Flush())
	require.Eventually(p.t, func() bool {
		info, err := p.stream.Info(p.ctx)
		return err == nil && info.State.LastSeq >= p.taken+uint64(n)
	}, time.Minute, time.Millisecond)
}

func (p *pulled) pull(messages, bytes int) *pull {
	q, err := newPull(p.nc, p.consumer.CachedInfo(), messages, bytes)
	require.NoError(p.t, err)
	p.t.Cleanup(q.stop)
	return q
}

// take takes the next message, and holds it to be that.
func (p *pulled) take(q *pull) {
	m, err := q.next(p.ctx, time.Minute, nil)
	require.NoError(p.t, err)
	seq, ok := sequenceOf(m.Reply)
	require.True(p.t, ok)
	p.taken++
	require.Equal(p.t, p.taken, seq)
}

// ahead is how many messages the server has given out that were not taken.
func (p *pulled) ahead() uint64 {
	info, err := p.consumer.Info(p.ctx)
	require.NoError(p.t, err)
	return info.Delivered.Stream - p.taken
}

// comesTo waits until so many are ahead.
func (p *pulled) comesTo(least int, wait time.Duration) bool {
	for begun := time.Now(); p.ahead() < uint64(least); time.Sleep(time.Millisecond) {
		if time.Since(begun) > wait {
			return false
		}
	}
	return true
}

// What the server has given out and was not taken is never more than what was asked for may be, however long the
// messages are; and while there are some, the server is always asked for more.
func TestPullIsBounded(t *testing.T) {
	for _, c := range []struct{ messages, bytes, size, most, least int }{
		{messages: 64, bytes: 1 << 20, size: 10, most: 64, least: 24},
		{messages: 1 << 10, bytes: 64 << 10, size: 1000, most: 65, least: 20},
		{messages: 3, bytes: 1 << 20, size: 10, most: 3, least: 1},
		{messages: 1, bytes: 1 << 20, size: 10, most: 1, least: 1},
		{messages: 64, bytes: 100, size: 5000, most: pullParts, least: 1}, // none fits: one for each request
		{messages: 64, bytes: 1, size: 0, most: pullParts, least: 1},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			p := newPulled(t, jetstream.ConsumerConfig{})
			const n = 500
			p.publish(n, c.size)
			q := p.pull(c.messages, c.bytes)
			looks, full := 0, 0
			for p.taken < n {
				p.take(q)
				if p.taken%7 == 0 {
					require.LessOrEqual(t, p.ahead(), uint64(c.most))
				}
				if p.taken%50 == 0 && p.taken < n-100 {
					if looks++; p.comesTo(c.least, 2*time.Second) {
						full++
					}
					require.True(t, p.comesTo(1, time.Minute), "something is asked for at any time")
				}
			}
			// Where the server has all of one request served before the next has come, they run out together.
			require.GreaterOrEqual(t, 2*full, looks)
			_, err := q.next(p.ctx, time.Millisecond, nil)
			require.Equal(t, errQuiet, err)
		})
	}
}

// Short messages, then long ones, then short ones: a request that was too small for one of them does not stop.
func TestPullOfMixedSizes(t *testing.T) {
	p := newPulled(t, jetstream.ConsumerConfig{})
	q := p.pull(16, 16<<10)
	for _, size := range []int{10, 20_000, 0, 3000, 100_000, 10} {
		p.publish(40, size)
		for range 40 {
			p.take(q)
		}
	}
}

// Requests that have run out are made again.
func TestPullRunsOut(t *testing.T) {
	p := newPulled(t, jetstream.ConsumerConfig{MaxRequestExpires: 50 * time.Millisecond})
	q := p.pull(8, 1<<20)
	require.Equal(t, 50*time.Millisecond, q.expires)
	for range 5 {
		_, err := q.next(p.ctx, 120*time.Millisecond, nil)
		require.Equal(t, errQuiet, err)
		p.publish(20, 10)
		for range 20 {
			p.take(q)
		}
	}
}

// What somebody who made the consumer has limited is kept to.
func TestPullKeepsToLimitsOfTheConsumer(t *testing.T) {
	p := newPulled(t, jetstream.ConsumerConfig{MaxRequestBatch: 2, MaxRequestMaxBytes: 300, MaxWaiting: 3})
	p.publish(50, 10)
	q := p.pull(1000, 1<<20)
	require.Len(t, q.parts, 3)
	for range 50 {
		p.take(q)
		require.LessOrEqual(t, p.ahead(), uint64(6))
	}
	_, err := newPull(p.nc, p.consumer.CachedInfo(), 10, 10)
	require.NoError(t, err)
	other := p.pull(10, 1000)
	_, err = other.next(p.ctx, time.Minute, nil)
	require.Equal(t, errTooManyRequests, err)
	require.True(t, canWait(err))
}

// What ends a consumer ends a pull, with what it was; and so does who waits for it.
func TestPullIsOver(t *testing.T) {
	p := newPulled(t, jetstream.ConsumerConfig{})
	q := p.pull(64, 100_000)
	p.publish(1, 10)
	p.take(q) // so that the server has a request that is open
	lost := make(chan struct{}, 1)
	lost <- struct{}{}
	_, err := q.next(p.ctx, time.Minute, lost)
	require.Equal(t, errReset, err)
	ctx, cancel := context.WithCancelCause(p.ctx)
	cancel(context.DeadlineExceeded)
	_, err = q.next(ctx, time.Minute, lost)
	require.Equal(t, context.DeadlineExceeded, err)

	require.NoError(t, p.stream.DeleteConsumer(p.ctx, "d"))
	_, err = q.next(p.ctx, time.Minute, lost)
	require.Equal(t, jetstream.ErrConsumerDeleted, err)
	_, err = p.pull(8, 1000).next(p.ctx, time.Minute, lost)
	require.Equal(t, nats.ErrNoResponders, err)
	p.nc.Close()
	_, err = newPull(p.nc, p.consumer.CachedInfo(), 8, 1000)
	require.Equal(t, nats.ErrConnectionClosed, err)
}

// What a server says of a request, and what is not known: an error with its words.
func TestPullStatus(t *testing.T) {
	var q pull
	say := func(code, text string) *nats.Msg {
		return &nats.Msg{Header: nats.Header{"Status": {code}, "Description": {text}}}
	}
	for _, c := range []struct {
		code, text string
		isOver     bool
		err        error
	}{
		{"408", "Request Timeout", true, nil},
		{"404", "No Messages", true, nil},
		{"100", "Idle Heartbeat", false, nil},
		{"409", "Batch Completed", false, nil},
		{"409", "Message Size Exceeds MaxBytes", true, nil},
		{"409", "Leadership Change", false, jetstream.ErrConsumerLeadershipChanged},
		{"409", "Server Shutdown", false, jetstream.ErrServerShutdown},
	} {
		m := say(c.code, c.text)
		require.True(t, isStatus(m))
		isOver, err := q.status(&part{asked: 5, left: 5}, m)
		require.Equal(t, c.isOver, isOver, c.text)
		require.Equal(t, c.err, err, c.text)
	}
	_, err := q.status(&part{}, say("423", "Nats-Wrong-Pin-Id"))
	require.ErrorContains(t, err, "refuses to serve the consumer: 423 nats-wrong-pin-id")
	require.False(t, canWait(err))
	require.False(t, isStatus(&nats.Msg{Reply: "$JS.ACK.S.d.1.1.1.1.1", Header: nats.Header{"Status": {"408"}}}),
		"a message of the stream that looks like one")
}

func TestSequenceOf(t *testing.T) {
	for reply, want := range map[string]uint64{
		"$JS.ACK.S.d.1.7.3.1700000000.0":                    7,
		"$JS.ACK._.acc.S.d.1.8.3.1700000000.0":              8,
		"$JS.ACK.dom.acc.S.d.1.18446744073709551.3.17.0.xy": 18446744073709551,
		"$JS.ACK.dom.acc.S.d.1.9.3.17.0.xy.more":            9,
		"$JS.ACK.S.d.1.0.3.1700000000.0":                    0,
		"$JS.ACK.S.d.1.x.3.1700000000.0":                    0,
		"$JS.ACK.S.d.1..3.1700000000.0":                     0,
		"$JS.ACK.S.d.1.99999999999999999999.3.17.0":         0,
		"$JS.ACK.S.d.1.7.3.17":                              0,
		"$JS.ACK.S.d.1.7.3.17.0.1":                          0,
		"_INBOX.S.d.1.7.3.17.0.1":                           0,
		"":                                                  0,
	} {
		seq, ok := sequenceOf(reply)
		require.Equal(t, want, seq, reply)
		require.Equal(t, want > 0, ok, reply)
		if m := (&nats.Msg{Reply: reply, Sub: &nats.Subscription{}}); ok {
			meta, err := m.Metadata()
			if err == nil {
				require.Equal(t, want, meta.Sequence.Stream, "as nats.go says")
			}
		}
	}
}
