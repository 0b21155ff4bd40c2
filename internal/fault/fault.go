// Package fault tells a page that is missing from other panics. Where a file is shorter than
// its mapping, or has a hole that cannot be filled, whoever touches the page gets SIGBUS. The Go
// runtime ends the process then, or, in a goroutine for which debug.SetPanicOnFault is on, panics.
package fault

import "runtime"

// Address returns the address that could not be accessed, if a recovered value is of such a
// panic. Whoever recovers asks whether the address is one of its own, and panics anew with what is
// not: it is somebody else's mistake.
func Address(recovered any) (addr uintptr, ok bool) {
	f, ok := recovered.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok {
		return 0, false
	}
	return f.Addr(), true
}
