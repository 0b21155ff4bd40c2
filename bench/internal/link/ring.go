package link

import (
	"context"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/bench/internal/work"
)

var background = context.Background()

// ringLink is one end of a ring.
type ringLink struct {
	p *shmring.Producer
	c *shmring.Consumer

	// What RecvMany was called with, for a handler that is made once.
	buf    []byte
	f      func([]byte) error
	handle func(shmring.Message) error
}

func openRing(mpsc, inPlace bool) work.Open {
	return func(j *work.Job, direction string, sender bool) (work.Link, error) {
		l := &ringLink{}
		var err error
		if o := Options(j, mpsc); sender {
			l.p, err = shmring.OpenProducer(background, direction, o)
		} else {
			l.c, err = shmring.OpenConsumer(background, direction, o)
		}
		if inPlace {
			l.handle = func(m shmring.Message) error { return l.f(m.Bytes()) }
			return placedLink{l}, err
		}
		l.handle = func(m shmring.Message) error { return l.f(l.buf[:copy(l.buf, m.Bytes())]) }
		if j.Transport == "shmring-try" {
			return tryLink{l}, err
		}
		return l, err
	}
}

// Options are those of all who open a ring, so that it does not matter who creates it:
// the defaults as far as messages fit, but for who waits. shmring-default has no but.
func Options(j *work.Job, mpsc bool) *shmring.Options {
	o := &shmring.Options{Dir: j.Dir, Mode: shmring.ModeOpenOrCreate, Prefault: true, WaitPolicy: shmring.WaitSpin}
	if mpsc {
		o.Kind = shmring.KindMPSC
	}
	switch {
	case j.Transport == "shmring-default":
		o.WaitPolicy, o.Prefault = shmring.WaitBalanced, false
	case j.Work == "blocked":
		o.WaitPolicy = shmring.WaitSleep
	case j.Work == "wake" || j.Work == "mpsc":
		o.WaitPolicy = shmring.WaitBalanced
	}
	if j.Size > shmring.DefaultMaxMessage {
		o.Slots, o.SlotSize, o.MaxMessage = 8192, 512, j.Size
	}
	return o
}

func (l *ringLink) Send(msg []byte) error        { return l.p.Send(background, msg) }
func (l *ringLink) Recv(buf []byte) (int, error) { return l.c.Receive(background, buf) }

func (l *ringLink) SendMany(msgs [][]byte) error {
	_, err := l.p.SendBatch(background, msgs)
	return err
}

func (l *ringLink) RecvMany(buf []byte, f func([]byte) error) error {
	l.buf, l.f = buf, f
	_, err := l.c.Drain(background, 256, l.handle)
	return err
}

// Close leaves the ring to its end: the receiver may not have seen all of it.
func (l *ringLink) Close() error {
	if l.p != nil {
		return l.p.Close()
	}
	return l.c.Close()
}

// tryLink waits by itself: it calls again what says that it cannot be done now.
type tryLink struct{ *ringLink }

func (l tryLink) Send(msg []byte) error {
	for {
		if err := l.p.TrySend(msg); err != shmring.ErrFull && err != shmring.ErrContended {
			return err
		}
	}
}

func (l tryLink) Recv(buf []byte) (int, error) {
	for {
		if n, err := l.c.TryReceive(buf); err != shmring.ErrEmpty {
			return n, err
		}
	}
}

// placedLink works in place.
type placedLink struct{ *ringLink }

// SendManyPlaced makes a Batch: of an entry that is a word and the message, each at a multiple of 8.
func (l placedLink) SendManyPlaced(n, size int, f func([]byte)) error {
	b, err := l.p.ClaimBatch(background, n*(8+(size+7)&^7))
	if err != nil {
		return err
	}
	for range n {
		f(b.Append(size))
	}
	return b.Commit()
}

// RecvMany goes through what is there by a View, at most 256 messages.
func (l placedLink) RecvMany(_ []byte, f func([]byte) error) error {
	v := l.c.View()
	if !v.Next() && !v.Wait(background) {
		return v.Err()
	}
	for left := 256; left > 0; left-- {
		if err := f(v.Bytes()); err != nil {
			return err
		}
		if !v.Next() {
			return nil
		}
	}
	return f(v.Bytes())
}

func (l placedLink) SendPlaced(n int, f func([]byte)) error {
	c, err := l.p.Claim(background, n)
	if err != nil {
		return err
	}
	f(c.Bytes())
	return c.Commit()
}

func (l placedLink) RecvPlaced(f func([]byte) error) error {
	m, err := l.c.Next(background)
	if err != nil {
		return err
	}
	err = f(m.Bytes())
	m.Release()
	return err
}
