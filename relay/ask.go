package relay

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shmring/shmring"
)

// stored is what the newest message of a stream says of itself.
type stored struct {
	seq         uint64
	ring        string // Sender.Ring; empty: there is no message, or it is gone
	position    shmring.Position
	hasPosition bool
	end         string // HeaderEnd
	lost        bool   // there was a message, and it cannot be read
}

// errNoReader: such a stream keeps nothing while nobody is to read it, and says that all is well.
var errNoReader = errors.New("the stream keeps what somebody is to read (retention interest), and has no consumer")

// ask asks the stream what it has, until it answers, and makes everything else be sent again, divided as it was. What
// was sent before and is still on its way does no harm: it is what we send under the same sequence, or it is
// refused.
func (o *Out) ask(ctx context.Context) error {
	o.gen++
	o.window.resend()
	for {
		last, err := o.newest(ctx)
		if err == nil {
			return o.goOn(last)
		}
		for _, final := range []error{ErrWriter, ErrRewound} {
			if errors.Is(err, final) {
				return err
			}
		}
		if err := o.wait.trouble(ctx, "ask stream "+o.o.Stream, err); err != nil {
			return err
		}
	}
}

// newest reads the newest message of the stream, which is created if need be.
func (o *Out) newest(ctx context.Context) (last stored, err error) {
	ctx, cancel := o.wait.call(ctx)
	defer cancel()
	o.counts.asked.Add(1)
	if o.stream == nil {
		if o.stream, err = o.openStream(ctx); err != nil {
			return last, err
		}
	}
	info, err := o.stream.Info(ctx)
	if err != nil {
		return last, err
	}
	if info.Config.Retention == jetstream.InterestPolicy && info.State.Consumers == 0 {
		return last, errNoReader
	}
	if last.seq = info.State.LastSeq; last.seq < o.last.seq {
		return last, &RewoundError{o.o.Stream, last.seq, o.last.seq}
	}
	if last.seq == o.last.seq && last.seq > 0 {
		return o.last, nil // what we know it to be, also if it is gone by now
	}
	if last.seq == 0 {
		return last, nil
	}
	m, err := o.stream.GetMsg(ctx, last.seq)
	if isMissing(err) {
		last.lost = true
		return last, nil
	}
	if err != nil {
		return last, err
	}
	from, err := senderOf(m.Header)
	if err != nil || from == nil {
		return last, &WriterError{o.o.Stream, last.seq, "", o.o.Origin}
	}
	if from.Origin != o.o.Origin {
		return last, &WriterError{o.o.Stream, last.seq, from.Origin, o.o.Origin}
	}
	last.ring, last.end = from.Ring, get(m.Header, HeaderEnd)
	last.position, last.hasPosition = from.Position, !from.First
	return last, nil
}

// goOn takes what the stream has for what is stored, and what was noted behind that for what is to be sent.
func (o *Out) goOn(last stored) error {
	if err := o.adopt(last); err != nil {
		return err
	}
	if o.window.items == 0 { // nothing is in the way of anything
		o.wait.well()
	}
	created := o.stream.CachedInfo().Created.UnixNano()
	if o.chain.of(o.ring.Info().UUID, uint64(created)) {
		o.alone = true // of another ring, or another stream, something may be on its way
	}
	o.noted, o.owes = o.chain.after(o.last.seq), len(o.chain.owed()) > 0
	return nil
}

func isMissing(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return errors.Is(err, jetstream.ErrMsgNotFound) || ok && api.ErrorCode == codeSequenceGone
}

// adopt takes what the stream has for what is stored: that is released.
func (o *Out) adopt(last stored) error {
	w := &o.window
	if last.seq == o.last.seq || w.items == 0 {
		if last.seq != o.last.seq {
			o.last = last
			o.counts.sequence.Store(last.seq)
		}
		return nil
	}
	n, found := 0, false
	for i, it := range w.all[w.head:] {
		if o.isStored(&it, last) {
			n, found = i+1, true
			break
		}
	}
	if !found {
		// Something of ours was stored that we do not hold any more, or it is gone: another Out
		// of this origin writes, or somebody has deleted it.
		if last.lost {
			return &PositionLostError{o.o.Stream, last.seq, w.all[w.head].position}
		}
		return &WriterError{o.o.Stream, last.seq, o.o.Origin, o.o.Origin + " (this process)"}
	}
	o.stored(n, last.seq)
	return nil
}

// isStored tells whether an item is the newest message of the stream, or the last of those in it.
func (o *Out) isStored(it *item, last stored) bool {
	if last.ring != o.id || it.nowhere == last.hasPosition || !it.nowhere && it.position != last.position {
		return false
	}
	if it.end == nil {
		return last.end == ""
	}
	return last.end == it.end.word()
}

// openStream finds the stream, or makes it.
func (o *Out) openStream(ctx context.Context) (jetstream.Stream, error) {
	s, err := o.js.Stream(ctx, o.o.Stream)
	if !errors.Is(err, jetstream.ErrStreamNotFound) || o.o.NoCreate {
		return s, err
	}
	cfg := jetstream.StreamConfig{}
	if o.o.Create != nil {
		cfg = *o.o.Create
	}
	cfg.Name = o.o.Stream
	if len(cfg.Subjects) == 0 {
		cfg.Subjects = []string{o.o.Subject, o.o.Subject + ".end.*"}
	}
	return o.js.CreateStream(ctx, cfg)
}

// lastEnd is the newest end of a producer's stream that the stream has.
func (o *Out) lastEnd(ctx context.Context, producer int) (epoch uint32, found bool, err error) {
	e := end{StreamEnd: shmring.StreamEnd{Producer: producer}}
	for {
		call, cancel := o.wait.call(ctx)
		m, err := o.stream.GetLastMsgForSubject(call, o.endSubject(&e))
		cancel()
		switch {
		case isMissing(err):
			return 0, false, nil
		case err == nil:
			from, err := senderOf(m.Header)
			if err != nil {
				return 0, false, err
			}
			if from == nil || from.Ring != o.id {
				return 0, false, nil // of a ring before this one
			}
			known, err := readEnd(from, m.Header)
			if err != nil || known == nil {
				return 0, false, err
			}
			return known.Epoch, true, nil
		}
		if err := o.wait.trouble(ctx, "ask stream "+o.o.Stream, err); err != nil {
			return 0, false, err
		}
	}
}
