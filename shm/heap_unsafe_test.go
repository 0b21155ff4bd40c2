package shm_test

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/shm"
)

func TestHeapIsAlignedAndExact(t *testing.T) {
	for size := 1; size <= 600; size++ {
		mem := shm.Heap(size).Bytes()
		require.Len(t, mem, size)
		require.Equal(t, size, cap(mem))
		require.Zero(t, uintptr(unsafe.Pointer(&mem[0]))%128)
		mem[size-1] = 1
	}
	require.Panics(t, func() { shm.Heap(0) })
	require.Panics(t, func() { shm.Heap(-1) })
}
