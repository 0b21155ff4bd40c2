package relay_test

import (
	"encoding/binary"
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

// Latency beside plain nats.go, in one run, in turns: go test -run - -bench Latency -benchtime 1x . From ring to ring
// it is ring, Out, stream, In, ring; of nats.go it is publish, stream, consumer. Both in one process, with a connection
// for each side, and a server with a file store. One at a time: each message is sent when the one before it is there.
func BenchmarkLatency(b *testing.B) {
	const rounds, n = 3, 1000
	for _, pace := range []time.Duration{0, time.Millisecond} {
		for _, size := range []int{32, 4096} {
			var plain, rings [2][]float64 // p50, p99
			for range rounds {
				r := newRig(b, nil)
				add := func(to *[2][]float64, way func(*testing.B, *rig, int, int, time.Duration) []time.Duration) {
					took := way(b, r, size, n, pace)
					slices.Sort(took)
					to[0] = append(to[0], micros(took[n/2]))
					to[1] = append(to[1], micros(took[n*99/100]))
				}
				add(&plain, plainLatency)
				add(&rings, ringLatency)
				r.nc.Close()
				r.server.Close()
			}
			how := "one at a time"
			if pace > 0 {
				how = fmt.Sprintf("one each %v", pace)
			}
			fmt.Fprintf(os.Stderr, "%6d B, %s: nats.go p50 %.0f µs, p99 %.0f µs; ring to ring p50 %.0f µs, p99 %.0f µs; "+
				"added p50 %.0f µs\n", size, how, median(plain[0]), median(plain[1]), median(rings[0]), median(rings[1]),
				median(rings[0])-median(plain[0]))
		}
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// trips are messages that say when they were sent, and how long each took.
type trips struct {
	begin   time.Time
	data    []byte
	arrived chan time.Duration
}

func newTrips(size, n int) *trips {
	return &trips{time.Now(), make([]byte, size), make(chan time.Duration, n+warmUp)}
}

// got is called with each message that comes.
func (t *trips) got(data []byte) {
	t.arrived <- time.Since(t.begin) - time.Duration(binary.LittleEndian.Uint64(data))
}

// warmUp is how many messages are not counted: the first ones wait until all is set up.
const warmUp = 100

// run sends them, each when its time is there, or the one before it has come, and returns what each took.
func (t *trips) run(b *testing.B, pace time.Duration, send func([]byte) error) (took []time.Duration) {
	ctx := deadline(b)
	wait := func() {
		select {
		case d := <-t.arrived:
			took = append(took, d)
		case <-ctx.Done():
			require.FailNow(b, "a message does not come", len(took))
		}
	}
	n := cap(t.arrived)
	for start, i := time.Now(), 0; i < n; i++ {
		time.Sleep(time.Until(start.Add(time.Duration(i) * pace)))
		binary.LittleEndian.PutUint64(t.data, uint64(time.Since(t.begin)))
		require.NoError(b, send(t.data))
		if pace == 0 || i < warmUp {
			wait()
		}
	}
	for len(took) < n {
		wait()
	}
	return took[warmUp:]
}

func plainLatency(b *testing.B, r *rig, size, n int, pace time.Duration) []time.Duration {
	js, err := jetstream.New(r.connect())
	require.NoError(b, err)
	_, err = js.CreateStream(deadline(b), jetstream.StreamConfig{Name: "P", Subjects: []string{"plain"}})
	require.NoError(b, err)
	c, err := r.js().CreateConsumer(deadline(b), "P", jetstream.ConsumerConfig{Durable: "plain",
		AckPolicy: jetstream.AckAllPolicy, MaxAckPending: -1})
	require.NoError(b, err)
	t := newTrips(size, n)
	stop, err := c.Consume(func(m jetstream.Msg) {
		t.got(m.Data())
		m.Ack()
	})
	require.NoError(b, err)
	defer stop.Stop()
	return t.run(b, pace, func(data []byte) error {
		_, err := js.PublishAsync("plain", data)
		return err
	})
}

func ringLatency(b *testing.B, r *rig, size, n int, pace time.Duration) []time.Duration {
	p := r.producer("a", shmring.Options{})
	common := relay.Common{Stream: "S", Ring: r.ring(shmring.Options{})}
	out, err := relay.NewOut(r.connect(), "a", &relay.OutOptions{UntilEnd: true, Common: common})
	require.NoError(b, err)
	in, err := relay.NewIn(r.connect(), "b", &relay.InOptions{UntilEnd: true, Durable: "d", Common: common})
	require.NoError(b, err)
	runs := []*running{start(b, out.Run), start(b, in.Run)}
	c := r.consumer("b", shmring.Options{})
	t, done := newTrips(size, n), make(chan error, 1)
	go func() {
		for {
			_, err := c.Drain(b.Context(), 0, func(m shmring.Message) error { t.got(m.Bytes()); return nil })
			if err != nil {
				done <- err
				return
			}
		}
	}()
	took := t.run(b, pace, func(data []byte) error { return p.Send(b.Context(), data) })
	require.NoError(b, p.Close())
	require.Equal(b, io.EOF, <-done)
	for _, one := range runs {
		require.NoError(b, one.wait(b))
	}
	return took
}
