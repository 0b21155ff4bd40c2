package shm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The file is cut short while Close still writes into it.
func TestTruncatedInTheLastWord(t *testing.T) {
	s, err := create(t, ScratchDir(t))
	require.NoError(t, err)
	err = s.CloseWith(func(mem []byte, _ func()) {
		require.NoError(t, os.Truncate(s.Path(), 0))
		mem[0] = 1
	})
	require.ErrorIs(t, err, ErrTruncated)
	require.NoError(t, Remove(context.Background(), "a", s.back.(*file).opt), "its locks are gone")
}

// Guard makes an error of a missing page of this segment, after which its bytes are private zeros,
// and of nothing else.
func TestGuard(t *testing.T) {
	dir := ScratchDir(t)
	s, err := create(t, dir)
	require.NoError(t, err)
	other, err := Create(t.Context(), "b", testSize, &Options{Dir: dir}, nil)
	require.NoError(t, err)
	require.NoError(t, s.Guard(func() { s.Bytes()[0] = 3 }))
	require.PanicsWithValue(t, "mine", func() { _ = s.Guard(func() { panic("mine") }) })
	require.NoError(t, os.Truncate(other.Path(), 0))
	var outer error
	inner := errors.New("not reached")
	outer = other.Guard(func() { inner = s.Guard(func() { other.Bytes()[0]++ }) })
	require.ErrorIs(t, outer, ErrTruncated, "it is the other's")
	require.ErrorContains(t, inner, "not reached")
	require.Zero(t, other.Bytes()[0])
	require.Equal(t, byte(3), s.Bytes()[0])

	require.NoError(t, os.Truncate(s.Path(), 100))
	ended := true
	err = s.Guard(func() {
		s.Bytes()[testSize-1] = 1
		ended = false
	})
	var e *TruncatedError
	require.ErrorAs(t, err, &e)
	require.Equal(t, &TruncatedError{Path: s.Path(), Size: 100, Memory: e.Memory, Want: testSize}, e)
	require.True(t, ended)
	require.ErrorIs(t, s.Check(), ErrTruncated)
	ok, err := s.TryLock(0)
	require.True(t, ok && err == nil, "the rest of the handle is as it was")
	require.NoError(t, s.Close())
	require.NoError(t, other.Close())
	require.NoError(t, s.Guard(func() { s.Bytes()[0] = 1 }))
	require.NoError(t, s.Lost(0))
	require.ErrorIs(t, s.Check(), fs.ErrClosed)
}
