package shmring

import (
	"iter"
	"unsafe"

	"github.com/shmring/shmring/ring"
)

// Message and ring.Message have the same underlying type, so functions that take one are
// called exactly like those that take the other. The language converts the values but not the
// functions. A closure that converts would cost each message a second call and a copy.

func ringHandler(f func(Message) error) func(ring.Message) error {
	return *(*func(ring.Message) error)(unsafe.Pointer(&f))
}

func sequence(s iter.Seq2[ring.Message, error]) iter.Seq2[Message, error] {
	return *(*iter.Seq2[Message, error])(unsafe.Pointer(&s))
}
