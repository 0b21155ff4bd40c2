package load

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/shmring/shmring/cmd/internal/quantity"
)

// Sizes is a range of message sizes in bytes.
type Sizes struct{ Min, Max int }

// Set makes *Sizes a flag.Value: "48" or "48-4096".
func (s *Sizes) Set(text string) error {
	low, high, isRange := strings.Cut(text, "-")
	if !isRange {
		high = low
	}
	lowest, err1 := quantity.Bytes(low)
	highest, err2 := quantity.Bytes(high)
	if err1 != nil || err2 != nil || highest < lowest {
		return fmt.Errorf("size %q: want a number of bytes, or a range like 48-4096", text)
	}
	*s = Sizes{lowest, highest}
	return nil
}

func (s *Sizes) String() string {
	if s.Min == s.Max {
		return strconv.Itoa(s.Min)
	}
	return fmt.Sprintf("%d-%d", s.Min, s.Max)
}

// Generator makes the stream of one producer.
type Generator struct {
	who   identity
	sizes Sizes
	next  uint64
}

// NewGenerator makes the generator of a producer that has the given slot in the ring.
func NewGenerator(slot int, sizes Sizes) *Generator {
	return &Generator{who: identity{rand.Uint64(), slot}, sizes: sizes}
}

// Size is the size of the next message.
func (g *Generator) Size() int {
	spread := uint64(g.sizes.Max - g.sizes.Min + 1)
	return g.sizes.Min + int(mix(g.who.id+g.next)%spread)
}

// Kind is the kind of the next message.
func (g *Generator) Kind() uint16 {
	if g.next == 0 {
		return First
	}
	return Data
}

// Fill writes the next message into b, which has its size.
func (g *Generator) Fill(b []byte) { g.who.encode(b, g.next) }

// Advance goes on to the next message. Where it was not sent, do not: the next one
// then takes its number.
func (g *Generator) Advance() { g.next++ }

// Last is the message behind the last one. It is to be sent with kind Last.
func (g *Generator) Last(maxMessage int) []byte {
	b := make([]byte, min(headerSize, maxMessage))
	g.Fill(b)
	return b
}
