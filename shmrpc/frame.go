package shmrpc

import (
	"encoding/binary"
	"fmt"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/shmnet"
)

const (
	kindRequest = 1
	kindReply   = 2
	kindError   = 3
	kindCancel  = 4

	headerSize = 32
)

// header is what comes before a payload.
type header struct {
	kind   uint8
	more   bool
	method uint32 // code of an error
	id     uint64
	limit  uint64 // nanoseconds until the deadline; 0: none
	size   uint64 // of the whole payload
}

func (h *header) put(b []byte) {
	first := uint64(h.kind) | uint64(h.method)<<32
	if h.more {
		first |= 1 << 8
	}
	binary.LittleEndian.PutUint64(b, first)
	binary.LittleEndian.PutUint64(b[8:], h.id)
	binary.LittleEndian.PutUint64(b[16:], h.limit)
	binary.LittleEndian.PutUint64(b[24:], h.size)
}

// frameError tells of a frame that no correct peer sends.
type frameError struct{ text string }

func (e *frameError) Error() string { return "not a frame: " + e.text }
func (e *frameError) Unwrap() error { return shmring.ErrCorrupt }

func badFrame(format string, args ...any) error { return &frameError{fmt.Sprintf(format, args...)} }

// parse checks a frame. b may change meanwhile: each byte is read once.
func parse(b []byte) (h header, payload []byte, err error) {
	if len(b) < headerSize {
		return h, nil, badFrame("%d bytes", len(b))
	}
	first := binary.LittleEndian.Uint64(b)
	h = header{
		kind: uint8(first), more: first>>8&0xff == 1, method: uint32(first >> 32), id: binary.LittleEndian.Uint64(b[8:]),
		limit: binary.LittleEndian.Uint64(b[16:]), size: binary.LittleEndian.Uint64(b[24:]),
	}
	if h.kind < kindRequest || h.kind > kindCancel || uint32(first)>>8 > 1 {
		return h, nil, badFrame("it begins with %08x", uint32(first))
	}
	return h, b[headerSize:], nil
}

// assembly puts the pieces of a payload together. One is under way at a time. Of one that is longer than is taken
// the pieces are passed over, so that who sent it can be told, and the connection goes on.
type assembly struct {
	most int
	h    header
	got  uint64
	buf  []byte
	on   bool
}

// longest is farther than anybody's memory goes.
const longest = 1 << 40

// takes tells whether a payload is not longer than is taken. The text of an error is no payload of the user's.
// (By value: a header whose address is taken would be allocated by the server, for each request.)
func (a *assembly) takes(h header) bool {
	return h.size <= uint64(a.most) || h.kind == kindError && h.size <= mostText
}

// add takes a frame. whole: payload is all of it, in place, or in memory of its own; nothing, if it is longer than is
// taken.
func (a *assembly) add(b []byte) (h header, payload []byte, whole bool, err error) {
	h, payload, err = parse(b)
	switch {
	case err != nil:
		return h, nil, false, err
	case h.size > longest:
		return h, nil, false, badFrame("a payload of %d bytes", h.size)
	case !a.on && !h.more:
		if uint64(len(payload)) != h.size {
			return h, nil, false, badFrame("%d bytes of %d", len(payload), h.size)
		}
		if !a.takes(h) {
			payload = nil
		}
		return h, payload, true, nil
	case !a.on:
		a.on, a.h, a.got, a.buf = true, h, 0, nil
	case h.id != a.h.id || h.kind != a.h.kind || h.size != a.h.size:
		return h, nil, false, badFrame("a piece of something else")
	}
	if len(payload) == 0 || a.got+uint64(len(payload)) > h.size {
		return h, nil, false, badFrame("a piece of %d bytes behind %d of %d", len(payload), a.got, h.size)
	}
	if a.got += uint64(len(payload)); a.takes(a.h) {
		a.buf = append(a.buf, payload...)
	}
	if h.more {
		return h, nil, false, nil
	}
	if a.got != h.size {
		return h, nil, false, badFrame("%d bytes of %d", a.got, h.size)
	}
	first, buf := a.h, a.buf
	a.on, a.buf = false, nil
	return first, buf, true, nil
}

// inOne tells whether a payload of n bytes fits into one message.
func inOne(c *shmnet.Conn, n int) bool { return n <= c.MaxMessage()-headerSize }

// send sends a payload, in as many frames as it takes. The caller sees to it that nobody else sends
// in between.
func send(c *shmnet.Conn, h header, payload []byte) error {
	h.size = uint64(len(payload))
	for first := true; first || len(payload) > 0; first = false {
		piece := payload[:min(len(payload), c.MaxMessage()-headerSize)]
		payload = payload[len(piece):]
		h.more = len(payload) > 0
		err := c.WriteMessage(headerSize+len(piece), func(b []byte) (int, error) {
			h.put(b)
			return headerSize + copy(b[headerSize:], piece), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sendInPlace sends a payload of n bytes at most that fill writes, in place if it fits into one
// message. Nothing is sent if fill returns an error.
func sendInPlace(c *shmnet.Conn, h header, n int, fill func([]byte) (int, error)) error {
	if !inOne(c, n) {
		b := make([]byte, n)
		n, err := fill(b)
		if err != nil {
			return err
		}
		return send(c, h, b[:n])
	}
	return c.WriteMessage(headerSize+n, func(b []byte) (int, error) {
		n, err := fill(b[headerSize:])
		if err != nil {
			return 0, err
		}
		h.size = uint64(n)
		h.put(b)
		return headerSize + n, nil
	})
}
