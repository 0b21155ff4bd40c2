package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"github.com/shmring/shmring"
)

// call is one call of the API, or some in a row, of one style. What waits ends with ctx.
type call[H any] struct {
	name  string
	style style // mixed: of any
	waits bool
	f     func(ctx context.Context, k *caller, h H) error
}

// choose returns one of the calls that a configuration makes.
func choose[H any](chance *rand.Rand, calls []call[H], c config) call[H] {
	for {
		s := calls[chance.IntN(len(calls))]
		if s.style == mixed { // what moves no message, less often
			if chance.IntN(4) == 0 {
				return s
			}
			continue
		}
		want := c.style
		if want == polled {
			want = copying
		}
		if (want == mixed || s.style == want) && (s.waits != c.polling || chance.IntN(8) == 0) {
			return s
		}
	}
}

// burst is how many calls in a row that do not wait are one.
const burst = 24

// again makes a call that does not wait some times, until it ends with an error.
func again(f func() error) (err error) {
	for i := 0; i < burst && err == nil; i++ {
		err = f()
	}
	return err
}

// message is something to send: mostly short.
func (k *caller) message() []byte {
	n := k.chance.IntN(80)
	if k.chance.IntN(8) == 0 {
		n = k.chance.IntN(longest)
	}
	return k.buffer[:n]
}

func (k *caller) messages() (list [][]byte) {
	for range 1 + k.chance.IntN(12) {
		list = append(list, k.message())
	}
	return list
}

// fill writes into a claim and ends it in one of the ways that there are.
func (k *caller) fill(c *shmring.Claim, err error) error {
	if err != nil {
		return err
	}
	c.SetKind(3)
	switch k.chance.IntN(8) {
	case 0:
		c.Abort()
		return nil
	case 1:
		c.Shorten(len(c.Bytes()) / 2)
	case 2:
		clear(c.Bytes())
	}
	c.Copy(k.buffer[:16])
	_ = c.Position()
	return c.Commit()
}

// room is for a batch of some messages.
func (k *caller) room(p *shmring.Producer) int {
	return max(8, min(8+k.chance.IntN(600), p.MaxBatch()))
}

// build writes messages into a batch and ends it.
func (k *caller) build(b *shmring.Batch, err error) error {
	if err != nil {
		return err
	}
	for range k.chance.IntN(12) {
		m := k.message()
		room := b.Append(len(m))
		if room == nil {
			break
		}
		copy(room, m)
	}
	k.expect(b.Room() >= 0 && b.Room() <= 608, "a batch has room for %d bytes", b.Room())
	if k.chance.IntN(8) == 0 {
		b.Abort()
		return nil
	}
	return b.Commit()
}

// producerCalls are those of a Producer, but for Close.
var producerCalls = []call[*shmring.Producer]{
	{
		"Send",
		copying,
		true,
		func(ctx context.Context, k *caller, p *shmring.Producer) error { return p.Send(ctx, k.message()) },
	},
	{"SendKind", copying, true, func(ctx context.Context, k *caller, p *shmring.Producer) error {
		return p.SendKind(ctx, k.message(), 5)
	}},
	{"TrySend", copying, false, func(_ context.Context, k *caller, p *shmring.Producer) error {
		return again(func() error { return p.TrySend(k.message()) })
	}},
	{"TrySendKind", copying, false, func(_ context.Context, k *caller, p *shmring.Producer) error {
		return again(func() error { return p.TrySendKind(k.message(), 5) })
	}},
	{"Claim", inPlace, true, func(ctx context.Context, k *caller, p *shmring.Producer) error {
		c, err := p.Claim(ctx, len(k.message()))
		return k.fill(&c, err)
	}},
	{"TryClaim", inPlace, false, func(_ context.Context, k *caller, p *shmring.Producer) error {
		return again(func() error {
			c, err := p.TryClaim(len(k.message()))
			return k.fill(&c, err)
		})
	}},
	{"SendBatch", batches, true, func(ctx context.Context, k *caller, p *shmring.Producer) error {
		n, err := p.SendBatch(ctx, k.messages())
		k.expect(n >= 0 && n <= 12, "SendBatch says %d", n)
		return err
	}},
	{"TrySendBatch", batches, false, func(_ context.Context, k *caller, p *shmring.Producer) error {
		_, err := p.TrySendBatch(k.messages())
		return err
	}},
	{"ClaimBatch", batches, true, func(ctx context.Context, k *caller, p *shmring.Producer) error {
		b, err := p.ClaimBatch(ctx, k.room(p))
		return k.build(&b, err)
	}},
	{"TryClaimBatch", batches, false, func(_ context.Context, k *caller, p *shmring.Producer) error {
		b, err := p.TryClaimBatch(k.room(p))
		return k.build(&b, err)
	}},
	{"Check", mixed, false, func(_ context.Context, _ *caller, p *shmring.Producer) error { return p.Check() }},
	{"Peers", mixed, false, func(_ context.Context, k *caller, p *shmring.Producer) error {
		list, err := p.Peers()
		k.expect(len(list) <= 255, "%d peers", len(list))
		return err
	}},
	{"Used", mixed, false, func(_ context.Context, k *caller, p *shmring.Producer) error {
		n := p.Used()
		k.expect(n >= 0 && n <= p.Slots(), "Used says %d of %d", n, p.Slots())
		_, _, _, _ = p.Stats(), p.Info(), p.MaxMessage(), p.Ended()
		_ = p.ClaimState(shmring.Position{Record: k.chance.Uint64() >> k.chance.IntN(64)})
		p.CountDropped(1)
		return nil
	}},
	{"CloseSend", mixed, false, func(_ context.Context, k *caller, p *shmring.Producer) error {
		switch k.chance.IntN(60) {
		case 0:
			return p.CloseSend()
		case 1:
			return p.FailSend()
		case 2:
			return p.EndSend(shmring.Fate(k.chance.IntN(4)))
		}
		return nil
	}},
}

// look reads all of a message.
func (k *caller) look(c *shmring.Consumer, m *shmring.Message) {
	for _, b := range m.Bytes() {
		k.sum += b
	}
	k.expect(m.Len() <= c.MaxMessage() && m.Len() == len(m.Bytes()), "a message of %d bytes", m.Len())
	k.expect(m.Producer() >= 1 && m.Producer() <= 4, "a message from participant %d", m.Producer())
	_, _, _ = m.Kind(), m.Position(), m.Redelivered()
}

func (k *caller) received(c *shmring.Consumer, n int, err error) error {
	k.expect(n >= 0 && n <= c.MaxMessage() && (n <= len(k.short) || err == io.ErrShortBuffer), "%d bytes: %v", n, err)
	if err == io.ErrShortBuffer {
		n, err = c.TryReceive(k.buffer)
		k.expect(n >= 0 && n <= c.MaxMessage(), "%d bytes: %v", n, err)
	}
	return err
}

// view takes some messages by a View.
func (k *caller) view(ctx context.Context, c *shmring.Consumer) error {
	v := c.View()
	for range k.chance.IntN(100) {
		if !v.Next() && !v.Wait(ctx) {
			return enough(v.Err())
		}
		m := v.Message()
		k.look(c, &m)
		k.expect(len(v.Bytes()) == m.Len(), "a message of %d bytes, and of %d", len(v.Bytes()), m.Len())
		if k.chance.IntN(16) == 0 {
			v.Release()
		}
	}
	return nil
}

// next takes some messages in place, and gives them back in any order, or not.
func (k *caller) next(c *shmring.Consumer, next func() (shmring.Message, error)) error {
	var out []shmring.Message
	for range 1 + k.chance.IntN(6) {
		m, err := next()
		if err != nil {
			if len(out) > 0 && (err == shmring.ErrEmpty || errors.Is(err, context.DeadlineExceeded)) {
				break
			}
			return err
		}
		k.look(c, &m)
		out = append(out, m)
	}
	k.chance.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	for i := range out {
		if k.chance.IntN(16) > 0 {
			out[i].Release()
		}
	}
	return nil
}

var errEnough = errors.New("enough of this Drain")

func (k *caller) handler(c *shmring.Consumer) func(shmring.Message) error {
	return func(m shmring.Message) error {
		k.look(c, &m)
		if k.chance.IntN(40) == 0 {
			return errEnough
		}
		return nil
	}
}

func enough(err error) error {
	if err == errEnough {
		return nil
	}
	return err
}

// consumerCalls are those of a Consumer, but for Close.
var consumerCalls = []call[*shmring.Consumer]{
	{"Receive", copying, true, func(ctx context.Context, k *caller, c *shmring.Consumer) error {
		n, err := c.Receive(ctx, k.short)
		return k.received(c, n, err)
	}},
	{"TryReceive", copying, false, func(_ context.Context, k *caller, c *shmring.Consumer) error {
		return again(func() error {
			n, err := c.TryReceive(k.short)
			return k.received(c, n, err)
		})
	}},
	{"Next", inPlace, true, func(ctx context.Context, k *caller, c *shmring.Consumer) error {
		return k.next(c, func() (shmring.Message, error) { return c.Next(ctx) })
	}},
	{
		"TryNext",
		inPlace,
		false,
		func(_ context.Context, k *caller, c *shmring.Consumer) error { return k.next(c, c.TryNext) },
	},
	{"Drain", batches, true, func(ctx context.Context, k *caller, c *shmring.Consumer) error {
		_, err := c.Drain(ctx, k.chance.IntN(80), k.handler(c))
		return enough(err)
	}},
	{"TryDrain", batches, false, func(_ context.Context, k *caller, c *shmring.Consumer) error {
		_, err := c.TryDrain(k.chance.IntN(80), k.handler(c))
		return enough(err)
	}},
	{"View", batches, true, func(ctx context.Context, k *caller, c *shmring.Consumer) error {
		return k.view(ctx, c)
	}},
	{"View, Wait without a context", batches, false, func(_ context.Context, k *caller, c *shmring.Consumer) error {
		return k.view(context.Context(nil), c)
	}},
	{"All", inPlace, true, func(ctx context.Context, k *caller, c *shmring.Consumer) error {
		n := 0
		for m, err := range c.All(ctx) {
			if err != nil {
				return err
			}
			k.look(c, &m)
			if n++; n > 20 {
				break
			}
		}
		return nil
	}},
	{"Check", mixed, false, func(_ context.Context, _ *caller, c *shmring.Consumer) error { return c.Check() }},
	{"Peers", mixed, false, func(_ context.Context, _ *caller, c *shmring.Consumer) error {
		_, err := c.Peers()
		return err
	}},
	{"Used", mixed, false, func(_ context.Context, k *caller, c *shmring.Consumer) error {
		n := c.Used()
		k.expect(n >= 0 && n <= c.Slots(), "Used says %d of %d", n, c.Slots())
		_, _ = c.Stats(), c.Info()
		return nil
	}},
}

// poll is Wait, and what there is to be had of the consumer that it names.
func (k *caller) poll(ctx context.Context, p *shmring.Poller, c *shmring.Consumer) error {
	got, err := p.Wait(ctx)
	if err != nil {
		if got != nil {
			_ = p.Add(c) // it may have left: its next call tells why
		}
		return err
	}
	switch k.chance.IntN(3) {
	case 0:
		n, err := got.TryReceive(k.short)
		return k.received(got, n, err)
	case 1:
		return k.next(got, got.TryNext)
	}
	_, err = got.TryDrain(0, k.handler(got))
	return enough(err)
}

// onlookers are calls of those who take no part in the ring, and no lock: whoever has the attach lock for
// a moment is why the last to leave a lost ring does not know that it is, and its semaphores stay.
var onlookers = []call[config]{
	{"Inspect", mixed, false, func(ctx context.Context, k *caller, _ config) error {
		_, err := shmring.Inspect(ctx, attacked, &shmring.InspectOptions{Dir: k.Dir})
		return err
	}},
	{"InspectFile", mixed, true, func(ctx context.Context, k *caller, _ config) error {
		_, err := shmring.InspectFile(ctx, k.place.path(), &shmring.InspectOptions{Watch: 2 * time.Millisecond})
		return err
	}},
	{"List", mixed, false, func(ctx context.Context, k *caller, _ config) error {
		list, err := shmring.List(ctx, &shmring.InspectOptions{Dir: k.Dir})
		k.expect(err != nil || len(list) > 0, "List does not see the healthy ring")
		return err
	}},
	{"Observe", mixed, true, observe},
	{"Look", mixed, false, func(_ context.Context, k *caller, _ config) error {
		in, err := shmring.NewInspector(attacked, &shmring.InspectOptions{Dir: k.Dir})
		for i := 0; i < 3 && err == nil; i++ {
			_, err = in.Look()
		}
		return err
	}},
}

// observe follows the ring for a moment, from anywhere. Now and then it is closed meanwhile.
func observe(ctx context.Context, k *caller, c config) error {
	last := shmring.Observed{Sequence: k.chance.Uint64N(200)}
	last.Position.Record = k.chance.Uint64N(1 << 14)
	options := &shmring.ObserverOptions{
		Dir: k.Dir, AnyOwner: k.chance.IntN(2) == 0, Kinds: [][]uint16{nil, {3}}[k.chance.IntN(2)],
		From: []shmring.Start{shmring.FromNow, shmring.FromOldest, shmring.FromPosition(last.Position),
			shmring.FromAfter(last), shmring.FromNewest}[k.chance.IntN(5)],
	}
	o, err := shmring.OpenObserver(ctx, attacked, options)
	if err != nil {
		return err
	}
	defer o.Close()
	if k.chance.IntN(8) == 0 {
		time.AfterFunc(time.Duration(k.chance.IntN(5))*time.Millisecond, func() { _, _ = o.Stats(), o.Close() })
	}
	exact := c.honest && options.Kinds == nil
	for i, before := 0, uint64(0); i < 200; i++ {
		m, err := k.observation(ctx, o)
		switch {
		case err == shmring.ErrEmpty:
			continue
		case err != nil:
			return err
		}
		k.expect(!exact || before == 0 || m.Sequence == before+m.Missed+1, "observed message %d, with %d missed, behind %d",
			m.Sequence, m.Missed, before)
		before = m.Sequence
	}
	return nil
}

// observation is one call of an observer.
func (k *caller) observation(ctx context.Context, o *shmring.Observer) (m shmring.Observed, err error) {
	switch k.chance.IntN(20) {
	case 0:
		m, err = o.TryNext()
	case 1:
		m, err = o.TryLatest()
	case 2:
		m, err = o.Latest(ctx)
	default:
		m, err = o.Next(ctx)
	}
	most := o.Info().Geometry.MaxMessage
	k.expect(len(m.Bytes) <= most, "observed a message of %d bytes, %d at most", len(m.Bytes), most)
	for _, b := range m.Bytes {
		k.sum += b
	}
	s := o.Stats()
	k.expect(err != nil || s.Messages > 0 && s.Bytes >= uint64(len(m.Bytes)), "observed a message: %+v", s)
	return m, err
}

// adminCalls are those that go by the ring's name.
var adminCalls = append([]call[config]{
	{"Peers by name", mixed, false, func(ctx context.Context, k *caller, _ config) error {
		_, err := shmring.Peers(ctx, attacked, k.admin())
		return err
	}},
	{"Events", mixed, false, func(ctx context.Context, k *caller, _ config) error {
		list, err := shmring.Events(ctx, attacked, k.admin())
		k.expect(len(list) <= 128, "%d events", len(list))
		return err
	}},
	{"ForceSkip", mixed, true, func(ctx context.Context, k *caller, _ config) error {
		_, err := shmring.ForceSkip(ctx, attacked, shmring.Position{Record: uint64(k.chance.IntN(64))}, k.admin())
		return err
	}},
	{"Recover", mixed, true, func(ctx context.Context, k *caller, _ config) error {
		_, err := shmring.Recover(ctx, attacked, k.admin())
		return err
	}},
	{"Resize", mixed, true, func(ctx context.Context, k *caller, _ config) error {
		_, err := shmring.Resize(ctx, attacked, shmring.Geometry{Slots: 32 << k.chance.IntN(3)}, k.admin())
		return err
	}},
	{"Collect", mixed, false, func(ctx context.Context, k *caller, _ config) error {
		_, err := shmring.Collect(ctx, &shmring.CollectOptions{Dir: k.Dir, Unused: true})
		return err
	}},
	{"OpenConsumer, a second one", mixed, true, func(ctx context.Context, k *caller, c config) error {
		o := c.consumes(shmring.ModeOpenOnly)
		o.Prefault, o.Mlock = k.chance.IntN(2) == 0, k.chance.IntN(4) == 0
		another, err := shmring.OpenConsumer(ctx, attacked, &o)
		if err != nil {
			return err
		}
		return another.Close() // the words said that there was none
	}},
	{"OpenProducer, another one", mixed, true, func(ctx context.Context, k *caller, c config) error {
		o := c.options
		o.Mode, o.WaitForRole = shmring.ModeOpenOnly, k.chance.IntN(2) == 0
		another, err := shmring.OpenProducer(ctx, attacked, &o)
		if err != nil {
			return err
		}
		return errors.Join(another.TrySend(k.message()), another.Close())
	}},
}, onlookers...)
