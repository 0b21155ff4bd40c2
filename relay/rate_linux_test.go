package relay_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/relay"
)

// Rates beside plain nats.go, in one run, in turns: go test -run - -bench . -benchtime 1x . It
// prints medians of the ratios, which are to the plain consumer of messages without headers; it judges nothing. Each
// has a server and a store of its own, which are gone before the next, and each is first, second … in turn: who writes
// into a cache that others have filled is slower. The first tenth of the messages is not counted: what is made, opened
// and touched for them costs some ten milliseconds, once.
func BenchmarkRates(b *testing.B) {
	const rounds = 3
	for _, size := range []int{32, 256, 4096, 65536} {
		n := min(200_000, 400_000_000/(size+2000))
		publish := func(r *rig) float64 { return plainPublish(b, r, "P", size, n) }
		out := func(r *rig) float64 { return outRate(b, r, "o", size, n, false) }
		packed := func(r *rig) float64 { return outRate(b, r, "k", size, n, true) }
		ways := []func(*rig) float64{
			publish, out, packed,
			func(r *rig) float64 { publish(r); return plainConsume(b, r, "P", size, n) },
			func(r *rig) float64 { out(r); return plainConsume(b, r, "o", size, n) },
			func(r *rig) float64 { out(r); return inRate(b, r, "o", n) },
			func(r *rig) float64 { packed(r); return inRate(b, r, "k", n) },
		}
		rates := make([][]float64, len(ways))
		for round := range rounds {
			for i := range ways {
				way := (i + round*len(ways)/rounds) % len(ways)
				r := newRig(b, nil)
				rates[way] = append(rates[way], ways[way](r))
				r.close()
			}
		}
		fmt.Fprintf(os.Stderr, "%6d B: publish nats.go %.0f/s, Out %.0f/s (%.2f), packed %.0f/s (%.2f)\n", size,
			median(rates[0]), median(rates[1]), ratio(rates[1], rates[0]), median(rates[2]), ratio(rates[2], rates[0]))
		plain := rates[3]
		fmt.Fprintf(os.Stderr, "          consume nats.go %.0f/s, nats.go from Out's stream %.0f/s (%.2f), "+
			"In %.0f/s (%.2f), packed %.0f/s (%.2f)\n", median(plain), median(rates[4]), ratio(rates[4], plain),
			median(rates[5]), ratio(rates[5], plain), median(rates[6]), ratio(rates[6], plain))
	}
}

// tenth takes the time of n messages but for the first tenth.
type tenth struct {
	n, got, before int
	begin          time.Time
}

func (t *tenth) add(k int) {
	if t.got += k; t.before == 0 && t.got >= t.n/10 {
		t.before, t.begin = t.got, time.Now()
	}
}

func (t *tenth) rate() float64 { return float64(t.n-t.before) / time.Since(t.begin).Seconds() }

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

func ratio(a, b []float64) float64 {
	var list []float64
	for i := range a {
		list = append(list, a[i]/b[i])
	}
	return median(list)
}

// plainPublish publishes asynchronously, 4096 unacknowledged at most.
func plainPublish(b *testing.B, r *rig, stream string, size, n int) float64 {
	js, err := jetstream.New(r.nc, jetstream.WithPublishAsyncMaxPending(4096))
	require.NoError(b, err)
	_, err = js.CreateStream(deadline(b), jetstream.StreamConfig{Name: stream, Subjects: []string{"plain." + stream}})
	require.NoError(b, err)
	data := make([]byte, size)
	t := &tenth{n: n}
	for range n {
		_, err := js.PublishAsync("plain."+stream, data, jetstream.WithStallWait(time.Minute))
		require.NoError(b, err)
		t.add(1)
	}
	<-js.PublishAsyncComplete()
	return t.rate()
}

// plainConsume acknowledges in batches, and has as much under way as an In.
func plainConsume(b *testing.B, r *rig, stream string, size, n int) float64 {
	c, err := r.js().
		CreateConsumer(deadline(b), stream, jetstream.ConsumerConfig{Durable: "plain", AckPolicy: jetstream.AckAllPolicy,
			MaxAckPending: -1})
	require.NoError(b, err)
	got, done := 0, make(chan struct{})
	t := &tenth{n: n}
	stop, err := c.Consume(func(m jetstream.Msg) {
		if got++; got%256 == 0 || got == n {
			m.Ack()
		}
		t.add(1)
		if got == n {
			close(done)
		}
	}, jetstream.PullMaxMessages(min(relay.DefaultPulled, relay.DefaultInFlightBytes/size)))
	require.NoError(b, err)
	<-done
	rate := t.rate()
	stop.Stop()
	return rate
}

func outRate(b *testing.B, r *rig, ring string, size, n int, pack bool) float64 {
	o := shmring.Options{}
	if size >= 4096 { // a ring of as much as an Out may have on its way
		o.Slots, o.SlotSize = min(relay.DefaultInFlight*size, relay.DefaultSentBytes)/4096, 4096
	}
	p := r.producer(ring, o)
	data := make([]byte, size)
	out, err := relay.NewOut(
		r.nc,
		ring,
		&relay.OutOptions{Pack: pack, UntilEnd: true, Common: relay.Common{Ring: r.ring(shmring.Options{})}},
	)
	require.NoError(b, err)
	t := &tenth{n: n}
	done := make(chan error, 1)
	go func() { done <- out.Run(context.Background()) }()
	for range n {
		require.NoError(b, p.Send(context.Background(), data))
		t.add(1)
	}
	require.NoError(b, p.Close())
	require.NoError(b, <-done)
	return t.rate()
}

func inRate(b *testing.B, r *rig, stream string, n int) float64 {
	ring := stream + "-copy"
	c := make(chan error, 1)
	in, err := relay.NewIn(r.nc, ring, &relay.InOptions{UntilEnd: true, Durable: "d",
		Common: relay.Common{Stream: stream, Ring: r.ring(shmring.Options{})}})
	require.NoError(b, err)
	t := &tenth{n: n}
	go func() { c <- in.Run(context.Background()) }()
	consumer := r.consumer(ring, shmring.Options{WaitPolicy: shmring.WaitPark}) // the processors are for what is measured
	for err != io.EOF {
		var k int
		k, err = consumer.Drain(context.Background(), 0, func(shmring.Message) error { return nil })
		t.add(k)
	}
	require.NoError(b, <-c)
	require.Equal(b, n, t.got)
	return t.rate()
}
