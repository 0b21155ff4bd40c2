//go:build linux && !race

package fuzz

import (
	"os"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"
)

// regions are kept and used again: a fuzzer asks for memory thousands of times a
// second. One goroutine.
var regions = map[int][]byte{}

// memory is n zero bytes between pages that may not be touched. It ends at the upper
// one, but for what alignment to 128 bytes takes; where n is whole pages it also
// begins at the lower one. A fault becomes a panic of this goroutine.
func memory(tb testing.TB, n int) []byte {
	debug.SetPanicOnFault(true)
	page := os.Getpagesize()
	size := (n + page - 1) / page * page
	r := regions[size]
	if r == nil {
		all, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			tb.Fatal("mmap:", err)
		}
		r = all[page : page+size : page+size]
		if err := unix.Mprotect(r, unix.PROT_READ|unix.PROT_WRITE); err != nil {
			tb.Fatal("mprotect:", err)
		}
		regions[size] = r
	}
	clear(r)
	begin := (size - n) &^ 127
	return r[begin : begin+n : begin+n]
}
