package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/examples/services/flatbuffers/trade"
)

func orders() (list []*order) {
	for n := range 40 {
		list = append(list, &order{uint64(n), float64(n) / 3, strings.Repeat("s", n%17), bytes.Repeat([]byte{byte(n)}, n*n)})
	}
	return list
}

// What is built in room that held something else is a FlatBuffer from its first byte on, with every field where
// a processor wants it.
func TestBuild(t *testing.T) {
	var b flatbuffers.Builder
	for _, o := range orders() {
		room := bytes.Repeat([]byte{0xff}, o.room())
		require.True(t, build(&b, room, o.put))
		got := trade.GetRootAsTrade(room, 0)
		require.Equal(t, *o, order{got.Number(), got.Price(), string(got.Symbol()), bytes.Clone(got.NoteBytes())})
		table := got.Table()
		require.Zero(t, (table.Pos+flatbuffers.UOffsetT(table.Offset(6)))%8, "the price")
		gap := len(room) - int(b.Offset())
		require.Equal(t, make([]byte, gap-4), room[4:gap])
	}
}

// Room that is too small is said to be, and nothing is written beyond it.
func TestTooLittleRoom(t *testing.T) {
	o := orders()[9]
	var b flatbuffers.Builder
	fits := false
	for n := 0; n <= o.room(); n += 8 {
		memory := bytes.Repeat([]byte{0xff}, o.room()+64)
		fits = build(&b, memory[:n], o.put)
		require.Equal(t, bytes.Repeat([]byte{0xff}, len(memory)-n), memory[n:], "%d bytes", n)
		if fits {
			require.Equal(t, string(o.symbol), string(trade.GetRootAsTrade(memory[:n], 0).Symbol()))
		}
	}
	require.True(t, fits)
}

// What is no trade is an error, and never the end of the program.
func TestShow(t *testing.T) {
	o := orders()[9]
	room := make([]byte, o.room())
	require.True(t, build(new(flatbuffers.Builder), room, o.put))
	line, err := show(room)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(o.number, " ", o.price, " ", o.symbol, " ", len(o.note)), line)
	for n := range room {
		_, _ = show(room[:n])
		for _, wrong := range []byte{0, 0x7f, 0x80, 0xff} {
			damaged := bytes.Clone(room)
			damaged[n] = wrong
			_, _ = show(damaged)
		}
	}
	_, err = show(nil)
	require.ErrorContains(t, err, "not a trade")
	_, err = show(bytes.Repeat([]byte{0xff}, 64))
	require.Error(t, err)
}
