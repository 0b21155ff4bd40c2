package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/shmnet"
)

// arguments are what a victim is to do until it is killed.
type arguments struct {
	Path    string
	Listens bool
	Conns   int
	Traffic int // which of traffics
	Buffer  int
	RPC     bool
}

// traffic is what one side does with a connection.
type traffic struct {
	name          string
	reads, writes bool
	inPlace       bool
}

var traffics = []traffic{
	{"silent", false, false, false},
	{"reads", true, false, false},
	{"writes", false, true, false},
	{"both", true, true, false},
	{"both in place", true, true, true},
}

// stream is endless bytes of which each place is known.
type stream struct{ at int64 }

func (s *stream) next() byte {
	b := byte(s.at * 2654435761 >> 11)
	s.at++
	return b
}

// Read makes up bytes, more or fewer at a time.
func (s *stream) Read(b []byte) (int, error) {
	b = b[:min(int64(len(b)), 1+s.at*7919%5000)]
	for i := range b {
		b[i] = s.next()
	}
	return len(b), nil
}

var errWrong = errors.New("wrong bytes")

// Write checks bytes.
func (s *stream) Write(b []byte) (int, error) {
	for i, got := range b {
		if at := s.at; s.next() != got {
			return i, fmt.Errorf("%w: byte %d is %#x", errWrong, at, got)
		}
	}
	return len(b), nil
}

// send and receive move bytes until the connection ends, and return why it did.
func (t traffic) send(c *shmnet.Conn) error {
	if t.inPlace {
		_, err := c.ReadFrom(&stream{})
		return err
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{c}, &stream{}, make([]byte, 20000))
	return err
}

func (t traffic) receive(c *shmnet.Conn, s *stream) (err error) {
	if t.inPlace {
		_, err = c.WriteTo(s)
	} else {
		_, err = io.CopyBuffer(s, struct{ io.Reader }{c}, make([]byte, 20000))
	}
	if err == nil {
		err = io.EOF
	}
	return err
}

// victim is the main of a child.
func victim(text string) error {
	var a arguments
	if err := labs.BeChild(text, &a); err != nil {
		return err
	}
	if a.RPC {
		return rpcVictim(a)
	}
	cfg := &shmnet.Config{Buffer: a.Buffer}
	next := func() (net.Conn, error) { return shmnet.Dial(context.Background(), a.Path, cfg) }
	if a.Listens {
		l, err := shmnet.Listen(a.Path, cfg)
		if err != nil {
			return err
		}
		next = l.Accept
	}
	var all sync.WaitGroup
	t := traffics[a.Traffic]
	for range a.Conns {
		c, err := next()
		if err != nil {
			return err
		}
		conn := c.(*shmnet.Conn)
		if t.writes {
			all.Go(func() { _ = t.send(conn) })
		}
		if t.reads {
			all.Go(func() {
				if err := t.receive(conn, &stream{}); errors.Is(err, errWrong) {
					panic(err)
				}
			})
		}
	}
	all.Wait()
	select {} // until it is killed
}
