package layout

import (
	"structs"
	"sync/atomic"
)

// CtlWord is a control word in shared memory. Its operations are those of sync/atomic:
// sequentially consistent.
type CtlWord struct {
	_ structs.HostLayout
	w atomic.Uint64
}

// Load returns the word.
func (w *CtlWord) Load() Ctl { return Ctl(w.w.Load()) }

// Store replaces the word.
func (w *CtlWord) Store(c Ctl) { w.w.Store(uint64(c)) }

// CompareAndSwap replaces the word if it is was, and reports whether it did.
func (w *CtlWord) CompareAndSwap(was, c Ctl) bool { return w.w.CompareAndSwap(uint64(was), uint64(c)) }

// TailWord is a Tail in shared memory.
type TailWord struct {
	_ structs.HostLayout
	w atomic.Uint64
}

// Load returns the word.
func (w *TailWord) Load() Tail { return Tail(w.w.Load()) }

// Store replaces the word.
func (w *TailWord) Store(t Tail) { w.w.Store(uint64(t)) }

// CompareAndSwap replaces the word if it is was, and reports whether it did.
func (w *TailWord) CompareAndSwap(was, t Tail) bool {
	return w.w.CompareAndSwap(uint64(was), uint64(t))
}

// PriorityWord is a Priority in shared memory.
type PriorityWord struct {
	_ structs.HostLayout
	w atomic.Uint64
}

// Load returns the word.
func (w *PriorityWord) Load() Priority { return Priority(w.w.Load()) }

// Store replaces the word.
func (w *PriorityWord) Store(p Priority) { w.w.Store(uint64(p)) }

// CompareAndSwap replaces the word if it is was, and reports whether it did.
func (w *PriorityWord) CompareAndSwap(was, p Priority) bool {
	return w.w.CompareAndSwap(uint64(was), uint64(p))
}

// StateWord is a ParticipantState in shared memory.
type StateWord struct {
	_ structs.HostLayout
	w atomic.Uint32
}

// Load returns the word.
func (w *StateWord) Load() ParticipantState { return ParticipantState(w.w.Load()) }

// Store replaces the word.
func (w *StateWord) Store(s ParticipantState) { w.w.Store(uint32(s)) }

// CompareAndSwap replaces the word if it is was, and reports whether it did.
func (w *StateWord) CompareAndSwap(was, s ParticipantState) bool {
	return w.w.CompareAndSwap(uint32(was), uint32(s))
}
