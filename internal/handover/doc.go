// Package handover is how a descriptor comes from one process to another over a Unix socket,
// and how each side knows that it did.
//
//	giver                              taker
//	credentials of the taker           credentials of the giver
//	offer, with the descriptors   →    reads it, closes what it does not want
//	                              ←    answer: taken, or refused
//
// Offer and answer are frames of [Size] bytes, the same for every version up to the byte that
// says which. A frame is read exactly, so that a connection may carry something else behind
// it, or another hand-over. Nothing is ever allocated by what a peer says.
//
//	offset  size  what
//	     0     8  magic, "shmring" and 0xf1
//	     8     1  version, 1
//	     9     1  kind: 1 offer of a ring, 2 answer, 3 offer of a connection (package shmnet)
//	    10     1  role of the taker: 0 any, 1 consumer, 2 producer
//	    11     1  of an answer: 0 taken, 1 refused
//	    12     4  how many descriptors come with it, little-endian
//	    16    16  UUID of the ring, of a connection's first
package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Size is the length of a frame.
const Size = 32

// MaxFiles is how many descriptors come with one frame at most.
const MaxFiles = 8

const (
	magic   = "shmring\xf1"
	version = 1
)

// Kind tells an offer from an answer.
type Kind uint8

// What a frame is.
const (
	Offer      Kind = 1
	Answer     Kind = 2
	Connection Kind = 3
)

// What an answer says.
const (
	Taken   uint8 = 0
	Refused uint8 = 1
)

var (
	// ErrFrame: what came is no hand-over.
	ErrFrame = errors.New("not a hand-over of a ring")
	// ErrVersion: the peer has another version of this.
	ErrVersion = errors.New("another version of the hand-over")
	// ErrFiles: with the frame came other descriptors than it says.
	ErrFiles = errors.New("wrong descriptors")
	// ErrUnsupported: descriptors do not travel on this system. It matches errors.ErrUnsupported.
	ErrUnsupported = fmt.Errorf("handing over needs Linux: %w", errors.ErrUnsupported)
)

// Frame is what one side says.
type Frame struct {
	Kind   Kind
	Role   uint8 // 0, 1 or 2
	Status uint8 // of an answer
	Files  int   // descriptors that come with it
	UUID   [16]byte
}

func (f Frame) encode() []byte {
	b := append(make([]byte, 0, Size), magic...)
	b = append(b, version, uint8(f.Kind), f.Role, f.Status)
	b = binary.LittleEndian.AppendUint32(b, uint32(f.Files))
	return append(b, f.UUID[:]...)
}

// decode checks a frame that has come. want is what it has to be.
func decode(b []byte, want Kind) (f Frame, err error) {
	switch {
	case string(b[:8]) != magic:
		return f, fmt.Errorf("%w: it begins with %q", ErrFrame, b[:8])
	case b[8] != version:
		return f, fmt.Errorf("%w: %d, ours is %d", ErrVersion, b[8], version)
	}
	f = Frame{Kind: Kind(b[9]), Role: b[10], Status: b[11], UUID: [16]byte(b[16:])}
	files := binary.LittleEndian.Uint32(b[12:])
	switch {
	case f.Kind != want:
		return f, fmt.Errorf("%w: kind %d where %d is due", ErrFrame, f.Kind, want)
	case f.Role > 2:
		return f, fmt.Errorf("%w: role %d", ErrFrame, f.Role)
	case f.Status > Refused || f.Kind != Answer && f.Status != 0:
		return f, fmt.Errorf("%w: status %d", ErrFrame, f.Status)
	case files > MaxFiles:
		return f, fmt.Errorf("%w: it speaks of %d, at most %d can be", ErrFiles, files, MaxFiles)
	}
	f.Files = int(files)
	return f, nil
}

// Credentials are those of a peer at the time when it connected or began to listen, as the
// kernel noted them.
type Credentials struct{ PID, UID, GID int }
