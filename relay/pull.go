package relay

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pull takes what it asks the durable consumer for, ahead of time.
//
// There are some requests at the server at any time, each for its part of the messages and bytes that may be under way.
// A part is asked for again when all of it was taken. So what was asked for, is on its way, and waits here, together,
// is never more. The server serves them in turn, one message each; the first of them are of different lengths, so that
// they do not all run out at once. Each has a subscription of its own, which is how its messages are known.
//
// Package jetstream has an iterator for that. It makes two timers for each message, and while it is asked for
// bytes, the server has nothing left to serve each time that it has counted them.
type pull struct {
	nc      *nats.Conn
	subject string // of requests
	expires time.Duration
	batch   int // of one request
	bytes   int
	got     chan *nats.Msg
	parts   []part
	timer   *time.Timer
}

// part is one request, and what is left of it.
type part struct {
	sub   *nats.Subscription
	asked int
	left  int  // of asked, not taken
	alone bool // one message, of any length
}

// pullParts is how many requests there are: what is asked for when one has run out is 3/8 of all.
const pullParts = 4

// pullFor is how long a request is open.
const pullFor = 4 * lookEvery

// newPull begins to ask for so many messages and bytes.
func newPull(nc *nats.Conn, c *jetstream.ConsumerInfo, messages, bytes int) (*pull, error) {
	count := min(pullParts, messages)
	if c.Config.MaxWaiting > 0 {
		count = min(count, c.Config.MaxWaiting)
	}
	p := &pull{
		nc: nc, subject: jetstream.DefaultAPIPrefix + "CONSUMER.MSG.NEXT." + c.Stream + "." + c.Name,
		expires: atMost(pullFor, c.Config.MaxRequestExpires),
		batch:   atMost(messages/count, c.Config.MaxRequestBatch),
		bytes:   atMost(max(1, bytes/count), c.Config.MaxRequestMaxBytes),
		parts:   make([]part, count),
		timer:   time.NewTimer(time.Hour),
	}
	p.got = make(chan *nats.Msg, count*(p.batch+2)) // and what says that a request is over
	if err := p.begin(); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *pull) begin() (err error) {
	inbox, count := p.nc.NewInbox(), len(p.parts)
	for i := range p.parts {
		if p.parts[i].sub, err = p.nc.ChanSubscribe(inbox+"."+strconv.Itoa(i), p.got); err != nil {
			return err
		}
	}
	for i := range p.parts {
		if err := p.ask(&p.parts[i], max(1, p.batch*(i+1)/count), max(1, p.bytes*(i+1)/count)); err != nil {
			return err
		}
	}
	return nil
}

// atMost is n, or the limit if there is one that is less.
func atMost[T int | time.Duration](n, limit T) T {
	if limit > 0 {
		return min(n, limit)
	}
	return n
}

// stop forgets what has not been taken.
func (p *pull) stop() {
	p.timer.Stop()
	for i := range p.parts {
		if sub := p.parts[i].sub; sub != nil {
			_ = sub.Unsubscribe() // fails where the connection is closed
		}
	}
}

// ask asks for a part. One that had no room for a message is asked for as that message.
func (p *pull) ask(part *part, messages, bytes int) error {
	request := make([]byte, 0, 96)
	if part.alone {
		messages = 1
	}
	request = append(request, `{"expires":`...)
	request = strconv.AppendInt(request, int64(p.expires), 10)
	request = append(request, `,"batch":`...)
	request = strconv.AppendInt(request, int64(messages), 10)
	if !part.alone {
		request = append(request, `,"max_bytes":`...)
		request = strconv.AppendInt(request, int64(bytes), 10)
	}
	request = append(request, '}')
	part.asked, part.left, part.alone = messages, messages, false
	return p.nc.PublishRequest(p.subject, part.sub.Subject, request)
}

// errQuiet: nothing has come for a while.
var errQuiet = errors.New("nothing came")

// next takes the next message. It waits for one as long as nothing of lost comes. Errors: errQuiet, errReset;
// the cause of ctx, which is looked at when nothing is there; those that the server gives instead of messages.
func (p *pull) next(ctx context.Context, wait time.Duration, lost <-chan struct{}) (m *nats.Msg, err error) {
	for waits := false; ; {
		select {
		case m = <-p.got:
		default:
			if !waits { // what says that a request is over is not what is waited for
				waits = true
				p.timer.Reset(wait)
			}
			if m, err = p.await(ctx, lost); err != nil {
				return nil, err
			}
		}
		part := p.of(m)
		isOver, err := false, error(nil)
		if isStatus(m) {
			if isOver, err = p.status(part, m); err != nil {
				return nil, err
			}
			m = nil
		} else if part.left--; part.left <= 0 {
			isOver, part.alone = true, m.Size() > p.bytes // and the next may be as long
		}
		if isOver {
			if err := p.ask(part, p.batch, p.bytes); err != nil {
				return nil, err
			}
		}
		if m != nil {
			return m, nil
		}
	}
}

func (p *pull) await(ctx context.Context, lost <-chan struct{}) (*nats.Msg, error) {
	select {
	case m := <-p.got:
		return m, nil
	case <-p.timer.C:
		return nil, errQuiet
	case <-lost:
		return nil, errReset
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// of is the part that a message is of.
func (p *pull) of(m *nats.Msg) *part {
	for i := range p.parts {
		if p.parts[i].sub == m.Sub {
			return &p.parts[i]
		}
	}
	return &p.parts[0] // cannot be: there are no other subscriptions
}

// isStatus tells what the server says of a request from messages of the stream, which want an acknowledgement.
func isStatus(m *nats.Msg) bool { return m.Reply == "" }

// status handles what the server says of a request; isOver: it gives nothing more to it.
func (p *pull) status(part *part, m *nats.Msg) (isOver bool, err error) {
	code, text := m.Header.Get("Status"), strings.ToLower(m.Header.Get("Description"))
	has := func(what string) bool { return strings.Contains(text, what) }
	switch {
	case code == "408" || code == "404":
		return true, nil
	case code == "409" && has("exceeds maxbytes"):
		part.alone = part.left == part.asked // not even one
		return true, nil
	case code == "409" && has("batch completed"): // which we have counted ourselves
		return false, nil
	case code == "100":
		return false, nil
	case code == "503":
		return false, nats.ErrNoResponders
	case code == "409" && has("consumer deleted"):
		return false, jetstream.ErrConsumerDeleted
	case code == "409" && has("leadership change"):
		return false, jetstream.ErrConsumerLeadershipChanged
	case code == "409" && has("server shutdown"):
		return false, jetstream.ErrServerShutdown
	case code == "409" && has("exceeded maxwaiting"): // by requests of one before us, which run out
		return false, errTooManyRequests
	}
	return false, fmt.Errorf("the server refuses to serve the consumer: %.200s %.200s", code, text)
}

var errTooManyRequests = errors.New("the consumer has as many requests as it may have")

// sequenceOf is the sequence in the stream of a message that wants an acknowledgement at reply:
//
//	$JS.ACK.STREAM.CONSUMER.DELIVERED.SEQUENCE.…                 9 words, of older servers
//	$JS.ACK.DOMAIN.ACCOUNT.STREAM.CONSUMER.DELIVERED.SEQUENCE.…  11 or more
func sequenceOf(reply string) (seq uint64, ok bool) {
	const prefix = "$JS.ACK."
	rest, ok := strings.CutPrefix(reply, prefix)
	words := strings.Count(reply, ".") + 1
	if !ok || words < 9 || words == 10 {
		return 0, false
	}
	skip := 3
	if words > 10 {
		skip = 5
	}
	for range skip {
		rest = rest[strings.IndexByte(rest, '.')+1:]
	}
	for at := 0; at < len(rest) && rest[at] != '.'; at++ {
		digit := rest[at] - '0'
		if digit > 9 || seq > (1<<64-1)/10-1 {
			return 0, false
		}
		seq = seq*10 + uint64(digit)
	}
	return seq, seq > 0
}
