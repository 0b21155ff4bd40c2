package link

import "unsafe"

func bytesOf[T value](v *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(v)), len(*v)) }
