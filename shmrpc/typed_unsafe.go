package shmrpc

import (
	"context"
	"encoding"
	"fmt"
	"reflect"
	"sync"
	"unsafe"

	"github.com/shmring/shmring"
)

// CallStruct is Call with a request and a reply that are structs, or other values, of a fixed size
// without pointers: their bytes are sent as they stand in memory, so both programs have to be built
// for the same kind of processor, and know the same types. A type with pointers panics. Errors: those
// of Call; shmring.ErrCorrupt if the reply is of another size.
func CallStruct[Reply, Request any](ctx context.Context, c *Client, method uint32,
	request *Request) (reply Reply, err error) {
	out, in := bytesOf(&reply), bytesOf(request)
	err = c.Do(ctx, method, len(in),
		func(b []byte) (int, error) { return copy(b, in), nil },
		func(b []byte) error {
			if len(b) != len(out) {
				return badFrame("a reply of %d bytes, %T has %d", len(b), reply, len(out))
			}
			copy(out, b)
			return nil
		})
	return reply, err
}

// Struct returns a copy of the request as a value of a fixed size without pointers, as CallStruct
// sends it. A type with pointers panics. The error matches shmring.ErrCorrupt: the request is of
// another size.
func Struct[T any](r *Request) (v T, err error) {
	if b := bytesOf(&v); copy(b, r.Bytes) != len(b) || len(r.Bytes) != len(b) {
		return v, fmt.Errorf("%w: a request of %d bytes, %T has %d", shmring.ErrCorrupt, len(r.Bytes), v, len(b))
	}
	return v, nil
}

// ReplyStruct replies with a value of a fixed size without pointers. A type with pointers panics.
// Errors: those of Reply.
func ReplyStruct[T any](r *Request, v *T) error { return r.Reply(bytesOf(v)) }

// bytesOf is the memory of a value without pointers.
func bytesOf[T any](v *T) []byte {
	t := reflect.TypeFor[T]()
	if plain, known := plainTypes.Load(t); known && plain.(bool) {
		return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
	}
	if !isPlain(t) {
		panic(fmt.Sprintf("shmrpc: %v has pointers", t))
	}
	plainTypes.Store(t, true)
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// plainTypes are types that were found to have no pointers.
var plainTypes sync.Map

func isPlain(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint,
		reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr, reflect.Float32, reflect.Float64,
		reflect.Complex64, reflect.Complex128:
		return true
	case reflect.Array:
		return isPlain(t.Elem())
	case reflect.Struct:
		for f := range t.Fields() {
			if !isPlain(f.Type) {
				return false
			}
		}
		return true
	}
	return false
}

// CallBinary is Call with a request that writes itself into bytes, and a reply that reads itself from
// them, which it does while they are valid only. Errors: those of Call, and of the two.
func CallBinary(ctx context.Context, c *Client, method uint32,
	request encoding.BinaryAppender, reply encoding.BinaryUnmarshaler) error {
	b, err := request.AppendBinary(nil)
	if err != nil {
		return err
	}
	return c.Do(ctx, method, len(b), func(to []byte) (int, error) { return copy(to, b), nil }, reply.UnmarshalBinary)
}
