package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/examples/services/protobuf/trade"
)

func TestSendInPlace(t *testing.T) {
	o := &shmring.Options{Dir: t.TempDir(), Slots: 16}
	p, err := shmring.OpenProducer(t.Context(), "x", o)
	require.NoError(t, err)
	defer p.Close()
	c, err := shmring.OpenConsumer(t.Context(), "x", o)
	require.NoError(t, err)
	defer c.Close()
	for n := range 300 { // many laps, and none of them leaves anything of the one before
		sent := &trade.Trade{Number: uint64(n), Symbol: strings.Repeat("s", n%50)}
		if n%3 == 0 {
			sent.Reset() // which takes no bytes
		}
		require.NoError(t, sendInPlace(t.Context(), p, kind, sent))
		m, err := c.TryNext()
		require.NoError(t, err)
		var got trade.Trade
		require.NoError(t, proto.Unmarshal(m.Bytes(), &got))
		require.True(t, proto.Equal(sent, &got), "%v, sent %v", &got, sent)
		require.Equal(t, uint16(kind), m.Kind())
		m.Release()
	}
	// What cannot be sent leaves no claim that holds others up.
	require.ErrorIs(t, sendInPlace(t.Context(), p, kind, &trade.Trade{Note: make([]byte, p.Info().MaxMessage)}),
		shmring.ErrTooLarge)
	require.Error(t, sendInPlace(t.Context(), p, kind, &trade.Trade{Symbol: "not UTF-8: \xff"}))
	require.NoError(t, sendInPlace(t.Context(), p, kind, &trade.Trade{Number: 1}))
	m, err := c.TryNext()
	require.NoError(t, err)
	require.Equal(t, 2, m.Len())
}
