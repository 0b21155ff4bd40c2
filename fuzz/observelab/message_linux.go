package main

import (
	"encoding/binary"
	"fmt"
)

// A message says who has sent it and which of theirs it is; all else follows from that.

const (
	longest  = 240
	idLength = 8
)

// identity of message k of an incarnation of a producer.
func identity(incarnation, k uint64) uint64 { return incarnation<<40 | k }

func mix(x uint64) uint64 {
	x ^= x >> 31
	x *= 0x9E3779B97F4A7C15
	return x ^ x>>29
}

// lengthOf is short for most.
func lengthOf(id uint64) int {
	h := mix(id)
	if h&7 != 0 {
		return idLength + int(h>>8%40)
	}
	return idLength + int(h>>8%(longest-idLength+1))
}

func kindOf(id uint64) uint16 { return uint16(id % 3) }

// write makes the message.
func write(buf []byte, id uint64) []byte {
	n := lengthOf(id)
	x := id
	for at := 0; at < n; at += 8 {
		binary.LittleEndian.PutUint64(buf[at:], x)
		x = mix(x + 1)
	}
	return buf[:n]
}

// read checks a message and returns what it says that it is.
func read(m []byte, scratch []byte) (id uint64, err error) {
	if len(m) < idLength {
		return 0, fmt.Errorf("a message of %d bytes", len(m))
	}
	id = binary.LittleEndian.Uint64(m)
	if want := write(scratch, id); string(want) != string(m) {
		return id, fmt.Errorf("message %#x is torn: % x, want % x", id, m, want)
	}
	return id, nil
}
