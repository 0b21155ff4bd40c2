package stepper

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDecode(t *testing.T) {
	require.Equal(t, Locked, decode([]byte{0xF0, 0x48, 0x0F, 0xB1, 0x11}))
	require.Equal(t, Locked, decode([]byte{0x48, 0x87, 0x10}))   // XCHG DX, (AX)
	require.Equal(t, Ordinary, decode([]byte{0x48, 0x87, 0xD0})) // XCHG of two registers
	require.Equal(t, Syscall, decode([]byte{0x0F, 0x05}))
	require.Equal(t, Ordinary, decode([]byte{0x48, 0x8B, 0x07}))
}
