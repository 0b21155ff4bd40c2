package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/shmring/shmring/cmd/internal/stream"
	"github.com/shmring/shmring/cmd/internal/workers"
)

// socket is one end of a Unix socket of stream type, used as a Go program would: one Write a
// message, reading by way of a buffer.
type socket struct {
	conn *net.UnixConn
	*job
}

// readBuffer is the size of that, and of what a socket may hold, about: a stream begins to be
// measured when so much is sent.
const (
	readBuffer = 64 << 10
	warmBytes  = 256 << 10
)

// onSocket makes a job of what one end of an inherited socket does.
func onSocket(do func(*socket, *result) error) func(context.Context, *job, *result) error {
	return func(ctx context.Context, j *job, r *result) error {
		f := os.NewFile(workers.Inherited, "socket")
		c, err := net.FileConn(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		defer c.Close()
		conn, is := c.(*net.UnixConn)
		if !is {
			return fmt.Errorf("descriptor %d is no Unix socket", workers.Inherited)
		}
		stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		err = do(&socket{conn, j}, r)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
}

func (s *socket) warmUp() uint64 { return uint64(warmBytes/max(1, s.Size) + 1) }

func (s *socket) send(r *result) error {
	msg := make([]byte, s.Size)
	sent, err := stream.Pump(s.warmUp(), s.For, r.Ran, func() error {
		_, err := s.conn.Write(msg)
		return err
	})
	r.Sent = &sent
	if err != nil {
		return err
	}
	return s.conn.CloseWrite()
}

func (s *socket) receive(r *result) error {
	m := stream.Meter{Long: s.For, Warm: s.warmUp(), Ran: r.Ran}
	in, own := bufio.NewReaderSize(s.conn, readBuffer), make([]byte, s.Size)
	const most = 64 // messages between two looks at the clock
	for err := error(nil); err == nil; {
		n := 0
		for ; n < most && err == nil; n++ {
			_, err = io.ReadFull(in, own)
		}
		if err != nil {
			n--
		}
		if err != nil && err != io.EOF {
			return err
		}
		m.Add(n, true)
	}
	r.Rate = m.Rate()
	return nil
}

func (s *socket) ping(r *result) error {
	course, back := s.course(r), make([]byte, s.Size)
	times, err := course.Measure(func(msg []byte) ([]byte, error) {
		if _, err := s.conn.Write(msg); err != nil {
			return nil, err
		}
		_, err := io.ReadFull(s.conn, back)
		return back, err
	})
	if err != nil {
		return err
	}
	r.Trips = times
	return s.conn.CloseWrite()
}

func (s *socket) echo(r *result) error {
	course, buf := s.course(r), make([]byte, s.Size)
	_, err := course.Reflect(func() error {
		if _, err := io.ReadFull(s.conn, buf); err != nil {
			return err
		}
		_, err := s.conn.Write(buf)
		return err
	})
	return err
}
