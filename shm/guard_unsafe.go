package shm

import (
	"runtime/debug"
	"unsafe"

	"github.com/shmring/shmring/internal/fault"
)

// guarded calls f. Where a page of mem is missing that f touches, f ends there, and guarded
// returns false.
func guarded(mem []byte, f func()) (whole bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		recovered := recover()
		if recovered == nil {
			return
		}
		if addr, ok := fault.Address(recovered); !ok || !contains(mem, addr) {
			panic(recovered) // somebody else's
		}
	}()
	f()
	return true
}

func contains(mem []byte, addr uintptr) bool {
	return addr-uintptr(unsafe.Pointer(unsafe.SliceData(mem))) < uintptr(len(mem))
}
