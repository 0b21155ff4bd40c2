package shm

import "unsafe"

const heapAlign = 128

// alignedBytes returns size zero bytes at an address divisible by heapAlign. The
// backing is of uint64 so that 64-bit atomics on it are aligned on every platform.
func alignedBytes(size int) []byte {
	words := make([]uint64, size/8+heapAlign/8+1)
	start := unsafe.Pointer(unsafe.SliceData(words))
	skip := -uintptr(start) & (heapAlign - 1)
	// SAFETY: skip < heapAlign, so skip+size lies within the words.
	return unsafe.Slice((*byte)(unsafe.Add(start, skip)), size)
}
