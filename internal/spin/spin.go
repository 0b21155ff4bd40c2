// Package spin tells the processor that a loop is waiting.
//
// It exists because the runtime's own procyield may only be reached by linkname,
// and its argument counts PAUSEs on amd64 but nanoseconds on arm64.
package spin
