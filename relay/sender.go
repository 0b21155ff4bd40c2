package relay

import (
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/shmring/shmring"
)

// Sender says where a NATS message of an Out comes from. Its text is what HeaderSender has: Ring, Position or "-",
// Producer, Kind, 1 or 0 for Redelivered, and Origin, with a space between them. It is one header, because most of
// what small messages cost a reader, and the server, is their headers.
type Sender struct {
	Ring        string           // Info.UUID of the ring, 32 hex digits
	First       bool             // of an end: no message is before it, and Position is nothing
	Position    shmring.Position // of the message, or of the last that is packed in it; of an end, of the last before it
	Producer    int              // Message.Producer, or of an end StreamEnd.Producer; 0 of packed messages
	Kind        uint16           // Message.Kind; 0 of packed messages
	Redelivered bool             // a consumer before the relay may have handled it; false of packed messages
	Origin      string           // OutOptions.Origin
}

// String is the text.
func (s Sender) String() string {
	b := make([]byte, 0, 96)
	b = append(b, s.Ring...)
	if s.First {
		b = append(b, " -"...)
	} else {
		b = append(append(b, ' '), s.Position.String()...)
	}
	b = strconv.AppendUint(append(b, ' '), uint64(s.Producer), 10)
	b = strconv.AppendUint(append(b, ' '), uint64(s.Kind), 10)
	if s.Redelivered {
		b = append(b, " 1 "...)
	} else {
		b = append(b, " 0 "...)
	}
	return string(append(b, s.Origin...))
}

// ParseSender understands the text. Errors: a [*WireError].
func ParseSender(text string) (s Sender, err error) {
	var words [5]string
	rest := text
	for i := range words {
		words[i], rest, _ = strings.Cut(rest, " ")
	}
	s.Ring, s.Origin = words[0], rest
	if s.First = words[1] == "-"; !s.First {
		if s.Position, err = shmring.ParsePosition(words[1]); err != nil {
			return Sender{}, &WireError{HeaderSender, text}
		}
	}
	producer, badProducer := strconv.ParseUint(words[2], 10, 8)
	kind, badKind := strconv.ParseUint(words[3], 10, 16)
	if badProducer != nil || badKind != nil || words[4] != "0" && words[4] != "1" {
		return Sender{}, &WireError{HeaderSender, text}
	}
	s.Producer, s.Kind, s.Redelivered = int(producer), uint16(kind), words[4] == "1"
	return s, nil
}

// senderOf is the Sender of a NATS message. nil: no Out has published it.
func senderOf(h nats.Header) (*Sender, error) {
	text := get(h, HeaderSender)
	if text == "" {
		return nil, nil
	}
	s, err := ParseSender(text)
	return &s, err
}

// uuid is Ring as it was.
func (s *Sender) uuid() (id [16]byte, err error) {
	if len(s.Ring) == hex.EncodedLen(len(id)) {
		_, err = hex.Decode(id[:], []byte(s.Ring))
	} else {
		err = hex.ErrLength
	}
	if err != nil {
		return id, &WireError{HeaderSender, s.String()}
	}
	return id, nil
}
