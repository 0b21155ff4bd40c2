package layout

import (
	"structs"
	"sync/atomic"
)

// Word is a word of 64 bits in shared memory. Its operations are those of sync/atomic:
// sequentially consistent.
type Word[T ~uint64] struct {
	_ structs.HostLayout
	w atomic.Uint64
}

// Load returns the word.
func (w *Word[T]) Load() T { return T(w.w.Load()) }

// Store replaces the word.
func (w *Word[T]) Store(v T) { w.w.Store(uint64(v)) }

// CompareAndSwap replaces the word if it is was, and reports whether it did.
func (w *Word[T]) CompareAndSwap(was, v T) bool {
	return w.w.CompareAndSwap(uint64(was), uint64(v))
}

// StateWord is a ParticipantState in shared memory, as Word is.
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
