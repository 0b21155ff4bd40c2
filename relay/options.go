package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shmring/shmring"
)

// Defaults of the options.
const (
	DefaultBatch         = 256
	DefaultBatchBytes    = 256 << 10
	DefaultInFlight      = 4096 // a server drops what comes behind 100 000, or 128 MiB, that it has not come to
	DefaultPulled        = 1024
	DefaultSentBytes     = 32 << 20
	DefaultInFlightBytes = 8 << 20
	DefaultPackBytes     = 32 << 10
	DefaultAckTimeout    = 5 * time.Second
	DefaultGrace         = 10 * time.Second
)

// Common are the options that both halves have.
type Common struct {
	// Ring are the options that the local ring is opened with. Its callbacks are the relay's, and
	// are not called; Untrusted, Dir, geometry and waiting are the user's. But WaitBalanced without SpinFor, the zero
	// value, is WaitPark here: who busy-waits for a ring keeps the goroutines of the connection from the
	// processor, which a message waits for next.
	Ring shmring.Options
	// Stream is the JetStream stream. Empty: the name of the ring, with _ for dots.
	Stream string
	// InFlight and InFlightBytes bound what is under way: sent and not acknowledged (Out, at most 4096), or pulled and
	// not sent (In): a successor of an In that was killed fetches those one by one. Both bound the memory of a
	// relay; of an In the bytes are those of messages as long as the stream's are on average, and what an Out has sent
	// is in its ring, and in the buffers of the connection. Zero: DefaultInFlight and DefaultSentBytes of an Out,
	// DefaultPulled and DefaultInFlightBytes of an In.
	InFlight      int
	InFlightBytes int
	// MarkDir is where the file is in which a relay notes what it sends: .RING.DURABLE.mark of an In, .RING.chain
	// of an Out. Empty: beside the ring. It has to be on a file system that outlives a process, and should not
	// outlive the ring's.
	MarkDir string
	// Patience is for how long in a row a server may be away, full, or without a leader, before Run returns the
	// *ServerError. Zero: as long as the context lasts.
	Patience time.Duration
	// Grace is how long Run goes on when its context is done, to finish what it has begun. Zero:
	// DefaultGrace.
	Grace time.Duration
	// OnTrouble is called by the goroutine of Run when something is in the way that may be over
	// later, each time that it is tried again, and with nil when it is over.
	OnTrouble func(error)
}

// OutOptions are the options of an Out. The zero value is a good default, and so is nil.
type OutOptions struct {
	Common
	// Subject is what messages are published under; ends under SUBJECT.end.SLOT and SUBJECT.end.all.
	// Empty: "shmring." and the name of the stream.
	Subject string
	// Origin is what this relay calls itself in the stream, without spaces around it or line ends. It has to be the
	// same after a restart, and another for each relay. Empty: HOST/RING.
	Origin string
	// Batch is after how many NATS messages the server is asked for an acknowledgement at the latest, BatchBytes
	// after how many bytes. When nothing waits in the ring it is asked at once. Zero: the defaults.
	Batch      int
	BatchBytes int
	// Pack puts several messages into one NATS message, as many as are there and fit into PackBytes: for
	// small messages, and for readers that are an In.
	Pack      bool
	PackBytes int // zero: DefaultPackBytes
	// MessageIDs gives each NATS message an id (Nats-Msg-Id) of ring and position, for readers who want
	// one. Nothing here depends on it, and it costs the server an entry in a table for as long as
	// the stream's window for duplicates lasts.
	MessageIDs bool
	// Create is how the stream is made if there is none. One that exists is taken as it is. Name and
	// Subjects are filled in where they are empty. nil: a file store that keeps everything.
	Create *jetstream.StreamConfig
	// NoCreate makes a stream that is not there an error.
	NoCreate bool
	// UntilEnd makes Run return when all streams of the ring are over and that is stored.
	UntilEnd bool
	// Resend says what to do where a *PositionLostError would be: store what may have been stored, marked as
	// redelivered.
	Resend bool
	// AckTimeout is how long an acknowledgement may take before the stream is asked what it has.
	// Zero: DefaultAckTimeout.
	AckTimeout time.Duration
}

// InOptions are the options of an In. The zero value is a good default, and so is nil.
type InOptions struct {
	Common
	// Durable is the name of the consumer at the server, which remembers what was read. Each In of a
	// stream has its own. Empty: HOST_RING.
	Durable string
	// SkipGaps goes on behind messages that are gone, and counts them, instead of returning a *GapError.
	SkipGaps bool
	// Uncertain says what to do where an *UncertainError would be. It does not happen while the ring is there
	// and other producers have not sent its whole length since a relay was killed.
	Uncertain Uncertain
	// Origin puts before each message where it comes from, which SplitOrigin takes off again: for rings that many hosts
	// send into. Messages become longer by OriginLength, for which the ring needs room.
	Origin bool
	// UntilEnd makes Run return when the other side says that all streams of its ring are over.
	UntilEnd bool
}

// Uncertain is what an In does with the one message of which it cannot know whether it was sent.
type Uncertain int

const (
	UncertainFail Uncertain = iota // Run returns an *UncertainError
	UncertainSend                  // send it, perhaps twice
	UncertainSkip                  // do not, perhaps never
)

func (o *OutOptions) orDefault(ring string) (*OutOptions, error) {
	own := OutOptions{}
	if o != nil {
		own = *o
	}
	own.InFlightBytes = cmp.Or(own.InFlightBytes, DefaultSentBytes)
	own.Common.defaults(ring)
	own.Subject = cmp.Or(own.Subject, "shmring."+own.Stream)
	if own.Origin == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		own.Origin = host + "/" + ring
	}
	own.Batch, own.BatchBytes = cmp.Or(own.Batch, DefaultBatch), cmp.Or(own.BatchBytes, DefaultBatchBytes)
	own.PackBytes = cmp.Or(own.PackBytes, DefaultPackBytes)
	own.AckTimeout = cmp.Or(own.AckTimeout, DefaultAckTimeout)
	if own.Batch < 0 || own.BatchBytes < 0 || own.PackBytes < 0 || own.InFlight < 0 || own.InFlightBytes < 0 {
		return nil, errors.New("relay: Batch, BatchBytes, PackBytes, InFlight and InFlightBytes are numbers above 0, or 0")
	}
	if strings.TrimSpace(own.Origin) != own.Origin || strings.ContainsAny(own.Origin, "\r\n") {
		return nil, fmt.Errorf("relay: Origin %q: it is a part of a header, which loses spaces around it, and line ends",
			own.Origin)
	}
	own.InFlight = min(own.InFlight, chainLength)
	return &own, nil
}

// noteDir is where the file with notes is.
func (c *Common) noteDir(ring shmring.Info) string { return cmp.Or(c.MarkDir, filepath.Dir(ring.Path)) }

func (c *Common) defaults(ring string) {
	c.Stream = cmp.Or(c.Stream, streamName(ring))
	c.InFlight = cmp.Or(c.InFlight, DefaultInFlight)
	c.InFlightBytes = cmp.Or(c.InFlightBytes, DefaultInFlightBytes)
	c.Grace = cmp.Or(c.Grace, DefaultGrace)
	if c.Ring.WaitPolicy == shmring.WaitBalanced && c.Ring.SpinFor == 0 {
		c.Ring.WaitPolicy = shmring.WaitPark
	}
}

// streamName is a ring's name without what a stream's name cannot have.
func streamName(ring string) string {
	b := []byte(ring)
	for i, c := range b {
		if c == '.' {
			b[i] = '_'
		}
	}
	return string(b)
}

func (o *InOptions) orDefault(ring string) (*InOptions, error) {
	own := InOptions{}
	if o != nil {
		own = *o
	}
	own.InFlight = cmp.Or(own.InFlight, DefaultPulled)
	own.Common.defaults(ring)
	if own.Durable == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		own.Durable = streamName(host + "_" + ring)
	}
	if own.InFlight < 0 || own.InFlightBytes < 0 {
		return nil, errors.New("relay: InFlight and InFlightBytes are numbers above 0, or 0")
	}
	return &own, nil
}

// patience tries something again, as long as that may help.
type patience struct {
	nc      *nats.Conn
	options *Common
	since   time.Time // of the first failure in a row; zero: all is well
	pause   time.Duration
	cancel  atomic.Pointer[context.CancelFunc] // of the request that is under way
	created bool                               // a stream that is not there is waited for
}

// call is the context of one request to the server: a request that was under way when the connection
// broke is not waited for.
func (p *patience) call(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	p.cancel.Store(&cancel)
	return ctx, func() { p.cancel.Store(nil); cancel() }
}

// watch calls f, and ends the call that is under way, each time that the connection is made anew, until
// stop is called.
func (p *patience) watch(f func()) (stop func()) {
	status := p.nc.StatusChanged(nats.CONNECTED)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range status {
			if cancel := p.cancel.Load(); cancel != nil {
				(*cancel)()
			}
			f()
		}
	}()
	return func() { p.nc.RemoveStatusListener(status); <-done }
}

// errReset: there is a new connection.
var errReset = errors.New("the connection was lost, and made anew")

// The pauses between two tries.
const (
	firstPause = 20 * time.Millisecond
	mostPause  = time.Second
	callWithin = 2 * time.Second // one request to the server
)

// well says that something has worked.
func (p *patience) well() {
	if !p.since.IsZero() && p.options.OnTrouble != nil {
		p.options.OnTrouble(nil)
	}
	p.since, p.pause = time.Time{}, 0
}

// trouble waits a moment if waiting may help against err, and returns nil; else the error to be
// returned. A ctx that is done ends the wait, with its cause.
func (p *patience) trouble(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, context.Canceled) {
		err = errReset
	}
	// A request that is not permitted is not answered either.
	if last := p.nc.LastError(); errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
		if errors.Is(last, nats.ErrPermissionViolation) || errors.Is(last, nats.ErrAuthorization) {
			err = last
		}
	}
	told := &ServerError{Op: op, Err: err, Waiting: (canWait(err) || p.created && isNoStream(err)) && !p.nc.IsClosed()}
	if !told.Waiting {
		if p.nc.IsClosed() && p.nc.LastError() != nil {
			told.Err = p.nc.LastError()
		}
		return told
	}
	if p.since.IsZero() {
		p.since = time.Now()
	}
	if p.options.Patience > 0 && time.Since(p.since) > p.options.Patience {
		return told
	}
	if p.options.OnTrouble != nil {
		p.options.OnTrouble(told)
	}
	p.pause = min(max(2*p.pause, firstPause), mostPause)
	wait := time.NewTimer(p.pause)
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
