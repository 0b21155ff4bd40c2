package main

import (
	"encoding/binary"
	"hash/crc32"
)

// source is whose message it is: a lane is a succession of lives, each of which
// begins after the one before was dead.
type source struct {
	lane uint32
	life uint32
}

const messageHeader = 24

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// messageSize is the size of that message: small ones mostly, some that take several
// slots, never more than most.
func messageSize(who source, seq uint64, most int) int {
	x := (uint64(who.lane)<<40 | uint64(who.life)<<20 | seq) * 0x9e3779b97f4a7c15
	size := messageHeader + int(x>>32%25)
	if x>>60 == 0 {
		size = messageHeader + int(x>>32)%1000
	}
	return min(size, most)
}

// fill makes the message of that number.
func fill(b []byte, who source, seq uint64) {
	binary.LittleEndian.PutUint32(b, who.lane)
	binary.LittleEndian.PutUint32(b[4:], who.life)
	binary.LittleEndian.PutUint64(b[8:], seq)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(b)))
	for i := messageHeader; i < len(b); i++ {
		b[i] = byte(seq) + byte(i)
	}
	binary.LittleEndian.PutUint32(b[20:], sum(b))
}

func sum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:20], castagnoli), castagnoli, b[messageHeader:])
}

// made is a new message of that number and size.
func (who source) made(seq uint64, size int) []byte {
	b := make([]byte, size)
	fill(b, who, seq)
	return b
}

// read is the inverse of fill; whole is false when anything is wrong with the bytes.
func read(b []byte) (who source, seq uint64, whole bool) {
	if len(b) < messageHeader {
		return who, 0, false
	}
	who = source{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
	seq = binary.LittleEndian.Uint64(b[8:])
	whole = binary.LittleEndian.Uint32(b[16:]) == uint32(len(b)) && binary.LittleEndian.Uint32(b[20:]) == sum(b)
	return who, seq, whole
}
