package work

import (
	"encoding/binary"
	"fmt"
)

const lastSeq = 1<<56 - 1

func head(msg []byte) uint64        { return binary.LittleEndian.Uint64(msg) }
func setHead(msg []byte, h uint64)  { binary.LittleEndian.PutUint64(msg, h) }
func pattern(head, k uint64) uint64 { return (head ^ k*0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9 }

func fill(msg []byte) {
	var word [8]byte
	for at := 8; at < len(msg); at += 8 {
		binary.LittleEndian.PutUint64(word[:], pattern(head(msg), uint64(at/8)))
		copy(msg[at:], word[:])
	}
}

func check(msg []byte) error {
	var word [8]byte
	for at := 8; at < len(msg); at += 8 {
		binary.LittleEndian.PutUint64(word[:], pattern(head(msg), uint64(at/8)))
		if rest := msg[at:min(at+8, len(msg))]; string(rest) != string(word[:len(rest)]) {
			return fmt.Errorf("message %x of %d bytes is damaged at byte %d: %x, want %x", head(msg), len(msg), at, rest, word)
		}
	}
	return nil
}

// mixedSize is the length of a message of the work mixed.
func mixedSize(head uint64) int {
	h := pattern(head, 1)
	a, b := h>>32%100, h&0xffffffff
	switch {
	case a < 60:
		return int(8 + b%41)
	case a < 90:
		return int(49 + b%968)
	}
	return int(1017 + b%3072)
}

// touch reads a byte of every cache line that a message has a part of, which brings all of
// it over. It does not matter where on a line the message begins.
func touch(msg []byte) (sum byte) {
	for i := 0; i < len(msg); i += 64 {
		sum += msg[i]
	}
	return sum + msg[len(msg)-1]
}
