package recording

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/shmring/shmring"
)

const (
	magic      = "shmrrec1"
	headerBase = 16 // magic, length, checksum
	maxHeader  = 1 << 20
	itemBase   = 56
)

// What an item is.
const (
	isMessage = 0
	isEnd     = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// ErrFormat: the file is no recording.
var ErrFormat = errors.New("no recording")

// CorruptError tells where a recording is damaged. It matches [shmring.ErrCorrupt].
type CorruptError struct {
	Path   string // empty if it is not known
	Offset int64  // of the item, from the file's begin
	What   string
}

// Error names the file and the place.
func (e *CorruptError) Error() string {
	text := fmt.Sprintf("damaged at byte %d: %s; all before that is sound", e.Offset, e.What)
	if e.Path != "" {
		text = e.Path + ": " + text
	}
	return text
}

// Unwrap returns shmring.ErrCorrupt.
func (e *CorruptError) Unwrap() error { return shmring.ErrCorrupt }

// Header begins each part.
type Header struct {
	Ring       string    `json:"ring"`
	UUID       string    `json:"uuid"` // of the ring that was there when recording began
	Kind       string    `json:"kind"`
	Slots      int       `json:"slots"`
	SlotSize   int       `json:"slot_size"`
	MaxMessage int       `json:"max_message"` // bytes
	Created    time.Time `json:"created"`     // the part
	Part       int       `json:"part"`        // from 1 on
}

func (h Header) encode() ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	b := append([]byte(magic), make([]byte, headerBase-len(magic))...)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(text)))
	binary.LittleEndian.PutUint32(b[12:], checksum(text))
	return append(b, text...), nil
}

// Entry is a message as it was recorded.
type Entry struct {
	Time     time.Time // when it was seen
	Position shmring.Position
	Kind     uint16
	Sequence uint64 // number of the message since the ring was made
	Missed   uint64 // messages that the recorder missed right before
	Bytes    []byte // of a Reader: valid until its next call
}

// End is why nobody recorded any further.
type End struct {
	Time   time.Time
	Reason string // for people
	Missed uint64 // messages that were missed behind the last one
}

// item is what lies in a file.
type item struct {
	what             uint16
	kind             uint16
	record, index    uint64
	time             int64
	sequence, missed uint64
	length, sum      uint32 // of the payload
}

// appendItem appends its bytes to b.
func appendItem(b []byte, it item, payload []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, itemBase)...)
	head, le := b[at:], binary.LittleEndian
	le.PutUint32(head[4:], uint32(len(payload)))
	le.PutUint32(head[8:], checksum(payload))
	le.PutUint16(head[12:], it.kind)
	le.PutUint16(head[14:], it.what)
	le.PutUint64(head[16:], it.record)
	le.PutUint64(head[24:], it.index)
	le.PutUint64(head[32:], uint64(it.time))
	le.PutUint64(head[40:], it.sequence)
	le.PutUint64(head[48:], it.missed)
	le.PutUint32(head, checksum(head[4:itemBase]))
	return append(b, payload...)
}

// parseItem is the way back, without the payload. ok is false if the checksum is not right.
func parseItem(head []byte) (it item, ok bool) {
	le := binary.LittleEndian
	return item{
		what: le.Uint16(head[14:]), kind: le.Uint16(head[12:]),
		record: le.Uint64(head[16:]), index: le.Uint64(head[24:]),
		time: int64(le.Uint64(head[32:])), sequence: le.Uint64(head[40:]), missed: le.Uint64(head[48:]),
		length: le.Uint32(head[4:]), sum: le.Uint32(head[8:]),
	}, le.Uint32(head) == checksum(head[4:itemBase])
}
