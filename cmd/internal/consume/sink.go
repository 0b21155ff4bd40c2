package consume

import (
	"bufio"
	"errors"
	"io"
	"syscall"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/frame"
)

// sink is where messages go. What put was given is handled, and given back to the
// ring, when flush returns nil, and sometimes before.
type sink interface {
	put(m shmring.Message) error
	flush() error
}

const bufferSize = 64 << 10

// writer writes messages to a file.
type writer struct {
	w      *bufio.Writer
	format frame.Format
	totals *cli.Totals

	last    shmring.Message // put and not released; the zero Message if there is none
	pending counts          // what goes with it
}

func newWriter(w io.Writer, f frame.Format, totals *cli.Totals) *writer {
	return &writer{w: bufio.NewWriterSize(w, bufferSize), format: f, totals: totals}
}

func (w *writer) put(m shmring.Message) error {
	size := m.Len() + w.format.Overhead()
	if size > w.w.Available() {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.last = m
	w.pending.add(m)
	if err := w.format.Write(w.w, m.Bytes()); err != nil {
		return explain(err)
	}
	if size > bufferSize/2 {
		return w.flush() // it holds a good part of the ring
	}
	return nil
}

// flush writes out what put was given, and only then releases it: a consumer that
// dies in between makes its successor write it again, and loses nothing.
func (w *writer) flush() error {
	if err := w.w.Flush(); err != nil {
		return explain(err)
	}
	w.last.Release()
	w.last = shmring.Message{}
	w.pending.moveTo(w.totals)
	return nil
}

// counts are of messages that are not released yet.
type counts struct{ messages, bytes, redelivered uint64 }

func (c *counts) add(m shmring.Message) {
	c.messages++
	c.bytes += uint64(m.Len())
	if m.Redelivered() {
		c.redelivered++
	}
}

func (c *counts) moveTo(t *cli.Totals) {
	t.Messages += c.messages
	t.Bytes += c.bytes
	t.Redelivered += c.redelivered
	*c = counts{}
}

var errReaderGone = errors.New(
	"whoever reads the output has closed it: what was not written stays in the ring for the next consumer")

func explain(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return errReaderGone
	}
	return err
}
