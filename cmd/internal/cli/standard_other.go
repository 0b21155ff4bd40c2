//go:build !linux

package cli

import (
	"io"
	"os"
)

// Waiting returns f.
func Waiting(f *os.File) io.Writer { return f }

// CheckReadable finds nothing.
func CheckReadable(io.Reader) error { return nil }

// CheckWritable finds nothing.
func CheckWritable(io.Writer) error { return nil }
