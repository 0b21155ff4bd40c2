package load

import (
	"bytes"
	"math/rand/v2"
	"sync"
)

const (
	poolWindow = 28 << 10 // offsets a block may begin at
	poolBlock  = 4 << 10
)

var pool = sync.OnceValue(func() []byte {
	b := make([]byte, poolWindow+poolBlock)
	// Any seed will do, as long as all processes have the same.
	rand.NewChaCha8([32]byte([]byte("shmring generated load, version1"))).Read(b)
	return b
})

// mix is the finalizer of SplitMix64: every bit of the result depends on every bit
// of x.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// blocks calls f for every piece of the pattern of n bytes that key stands for, until
// f returns false, and reports whether it never did.
func blocks(n int, key uint64, f func(at int, want []byte) bool) bool {
	p := pool()
	for at := 0; at < n; at += poolBlock {
		key = mix(key + 0x9e3779b97f4a7c15)
		off := key % poolWindow
		if !f(at, p[off:][:min(poolBlock, n-at)]) {
			return false
		}
	}
	return true
}

func fillPattern(b []byte, key uint64) {
	blocks(len(b), key, func(at int, want []byte) bool {
		copy(b[at:], want)
		return true
	})
}

func isPattern(b []byte, key uint64) bool {
	return blocks(len(b), key, func(at int, want []byte) bool {
		return bytes.Equal(b[at:at+len(want)], want)
	})
}
