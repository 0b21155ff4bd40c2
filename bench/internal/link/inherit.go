package link

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/shmring/shmring/bench/internal/work"
)

// Ends that a worker inherits: descriptors 3 and 4 are the receiving and the sending end
// of "there", 5 and 6 of "back".
func inherited(direction string, sender bool) int {
	fd := 3
	if direction == "back" {
		fd += 2
	}
	if sender {
		fd++
	}
	return fd
}

// A stream has no messages, so each goes with its length in front, in one write; the
// receiver reads as much as there is.
const frameHeader = 4

type framer struct {
	w   io.WriteCloser
	r   *bufio.Reader
	out []byte
	h   [frameHeader]byte // of the message that comes in
}

func newFramer(j *work.Job, rw io.ReadWriteCloser, sender bool) work.Link {
	f := &framer{w: rw}
	if !sender {
		f.r = bufio.NewReaderSize(rw, 64<<10)
	}
	return f
}

func (f *framer) add(msg []byte) {
	f.out = binary.LittleEndian.AppendUint32(f.out, uint32(len(msg)))
	f.out = append(f.out, msg...)
}

func (f *framer) flush() error {
	_, err := f.w.Write(f.out)
	f.out = f.out[:0]
	return err
}

func (f *framer) Send(msg []byte) error {
	f.add(msg)
	return f.flush()
}

func (f *framer) SendMany(msgs [][]byte) error {
	for _, msg := range msgs {
		f.add(msg)
	}
	return f.flush()
}

func (f *framer) Recv(buf []byte) (int, error) {
	if _, err := io.ReadFull(f.r, f.h[:]); err != nil {
		return 0, unexpected(err)
	}
	n := int(binary.LittleEndian.Uint32(f.h[:]))
	if n > len(buf) {
		return 0, fmt.Errorf("a message of %d bytes, want at most %d", n, len(buf))
	}
	_, err := io.ReadFull(f.r, buf[:n])
	return n, unexpected(err)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (f *framer) RecvMany(buf []byte, each func([]byte) error) error {
	for {
		n, err := f.Recv(buf)
		if err == nil {
			err = each(buf[:n])
		}
		if err != nil || f.r.Buffered() == 0 {
			return err
		}
	}
}

func (f *framer) Close() error { return f.w.Close() }

// openFile is a pipe as package os has it.
func openFile(j *work.Job, direction string, sender bool) (work.Link, error) {
	fd := inherited(direction, sender)
	return newFramer(j, os.NewFile(uintptr(fd), direction), sender), nil
}

// openConn is a socket as package net has it.
func openConn(j *work.Job, direction string, sender bool) (work.Link, error) {
	c, err := conn(direction, sender)
	if err != nil {
		return nil, err
	}
	return newFramer(j, c, sender), nil
}

func conn(direction string, sender bool) (net.Conn, error) {
	f := os.NewFile(uintptr(inherited(direction, sender)), direction)
	defer f.Close()
	return net.FileConn(f)
}

// packet is a socket that keeps messages apart.
type packet struct{ net.Conn }

func openPacket(j *work.Job, direction string, sender bool) (work.Link, error) {
	c, err := conn(direction, sender)
	return packet{c}, err
}

func (p packet) Send(msg []byte) error {
	_, err := p.Write(msg)
	return err
}

func (p packet) Recv(buf []byte) (int, error) {
	n, err := p.Read(buf)
	return n, unexpected(err)
}
