package relay

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// What is written is what is read, whatever name a relay has; and anything else is an error, and no panic.
func TestSender(t *testing.T) {
	id := ringID([16]byte{1, 2, 3})
	for _, s := range []Sender{
		{Ring: id},
		{Ring: id, First: true, Producer: 3, Origin: "host/ring"},
		{Ring: id, Position: shmring.Position{Record: 1<<64 - 1, Index: 1<<32 - 1}, Producer: 255, Kind: 65535,
			Redelivered: true, Origin: "a name with  spaces"},
	} {
		got, err := ParseSender(s.String())
		require.NoError(t, err)
		require.Equal(t, s, got)
	}
	for _, text := range []string{
		"", id, id + " 1.0", id + " 1.0 0 0", id + " 1.0 0 0 2 x", id + " 1.0 256 0 0 x", id + " 1.0 0 65536 0 x",
		id + " x 0 0 0 x", id + "  0 0 0 x", id + " 1.0 -1 0 0 x",
	} {
		s, err := ParseSender(text)
		require.ErrorIs(t, err, ErrWire, text)
		require.Zero(t, s)
	}
}

func FuzzParseSender(f *testing.F) {
	f.Add(Sender{Ring: "r", Origin: "o"}.String())
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSender(text)
		if err != nil {
			return
		}
		again, err := ParseSender(s.String())
		require.NoError(t, err)
		require.Equal(t, s, again)
	})
}

func ExampleParseSender() {
	s, err := ParseSender("00112233445566778899aabbccddeeff 4096.0 2 7 0 host/orders")
	fmt.Println(s.Ring, s.Position, s.Producer, s.Kind, s.Redelivered, s.Origin, err)
	// Output: 00112233445566778899aabbccddeeff 4096.0 2 7 false host/orders <nil>
}
