//go:build !linux

package shm_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/shm"
)

func TestUnsupported(t *testing.T) {
	_, err := shm.Create(t.Context(), "a", 1, nil, nil)
	require.ErrorIs(t, err, shm.ErrUnsupported)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = shm.Open(t.Context(), "a", 1, nil)
	require.ErrorIs(t, err, shm.ErrUnsupported)
	require.ErrorIs(t, shm.Remove(t.Context(), "a", nil), shm.ErrUnsupported)

	var name *shm.NameError
	require.ErrorAs(t, shm.Remove(t.Context(), "a/b", nil), &name)
}
