package load

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	headerSize = 24
	crcOffset  = 20
	wordSize   = 8
	numberBits = 48
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// identity is whose message it is: by id where there is room for it, else by slot.
type identity struct {
	id   uint64
	slot int
}

// encode makes the message of that number fill b.
func (who identity) encode(b []byte, number uint64) {
	switch {
	case len(b) >= headerSize:
		binary.LittleEndian.PutUint64(b, who.id)
		binary.LittleEndian.PutUint64(b[8:], number)
		binary.LittleEndian.PutUint32(b[16:], uint32(len(b)))
		fillPattern(b[headerSize:], mix(who.id)+number)
		binary.LittleEndian.PutUint32(b[crcOffset:], sum(b))
	case len(b) >= wordSize:
		binary.LittleEndian.PutUint64(b, who.word(number, len(b)))
		fillPattern(b[wordSize:], mix(uint64(who.slot))+number)
	default:
		var word [wordSize]byte
		binary.LittleEndian.PutUint64(word[:], number)
		copy(b, word[:])
	}
}

func sum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:crcOffset], castagnoli), castagnoli, b[headerSize:])
}

// word is the number and, above it, 16 bits that depend on it, the slot and the
// length.
func (who identity) word(number uint64, length int) uint64 {
	number &= 1<<numberBits - 1
	return number | mix(number^uint64(who.slot)<<numberBits^uint64(length)<<58)>>numberBits<<numberBits
}

// decode is the inverse of encode. next is the number that is expected; it fills in
// what short messages leave out. damage is what is wrong with the bytes, or "".
func decode(b []byte, slot int, next uint64) (who identity, number uint64, damage string) {
	who.slot = slot
	switch {
	case len(b) >= headerSize:
		who.id = binary.LittleEndian.Uint64(b)
		number = binary.LittleEndian.Uint64(b[8:])
		switch {
		case int(binary.LittleEndian.Uint32(b[16:])) != len(b):
			damage = "length does not match the one inside"
		case binary.LittleEndian.Uint32(b[crcOffset:]) != sum(b):
			damage = "checksum does not match"
		case !isPattern(b[headerSize:], mix(who.id)+number):
			damage = "content is not that of this message"
		}
	case len(b) >= wordSize:
		word := binary.LittleEndian.Uint64(b)
		number = word & (1<<numberBits - 1)
		switch {
		case who.word(number, len(b)) != word:
			damage = "number does not match its check bits"
		case !isPattern(b[wordSize:], mix(uint64(slot))+number):
			damage = "content is not that of this message"
		}
	default:
		var word [wordSize]byte
		copy(word[:], b)
		unseen := 64 - 8*len(b)
		// The nearest number with these low bytes. A shift by 64 leaves 0: the one
		// expected.
		ahead := int64((binary.LittleEndian.Uint64(word[:])-next)<<unseen) >> unseen
		number = next + uint64(ahead)
	}
	return who, number, damage
}
