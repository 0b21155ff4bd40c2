//go:build !linux || race

package fuzz

import (
	"testing"

	"github.com/shmring/shmring/shm"
)

// memory is n zero bytes of the heap, which the race detector can see.
func memory(_ testing.TB, n int) []byte {
	return shm.Heap(n).Bytes()
}
