package shmrpc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Nothing is kept of a payload that is longer than is taken, however many pieces it has.
func TestTooLongIsNotKept(t *testing.T) {
	a := assembly{most: 100}
	piece := make([]byte, headerSize+50)
	h := header{kind: kindRequest, id: 1, size: 500}
	for i := range 10 {
		h.more = i < 9
		h.put(piece)
		got, payload, whole, err := a.add(piece)
		require.NoError(t, err)
		require.Equal(t, i == 9, whole)
		require.Nil(t, payload)
		require.Nil(t, a.buf)
		require.False(t, a.takes(got))
	}
	h = header{kind: kindRequest, id: 2, size: 50}
	h.put(piece)
	_, payload, whole, err := a.add(piece)
	require.NoError(t, err)
	require.True(t, whole)
	require.Len(t, payload, 50)
}
