// Package frame cuts a byte stream into records and puts records together into a
// byte stream again.
//
//	line         a record is a line without its newline; a last line without one counts
//	len32        each record follows its length, 4 bytes little-endian
//	chunk=BYTES  the stream is cut every BYTES bytes; putting together is concatenation
package frame

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/shmring/shmring/cmd/internal/quantity"
)

type kind int

const (
	line kind = iota
	len32
	chunk
)

const lengthSize = 4

// Format is one of the ways to frame. The zero value is line.
type Format struct {
	kind kind
	size int // of a chunk
}

// Set makes *Format a flag.Value.
func (f *Format) Set(s string) error {
	size, isChunk := strings.CutPrefix(s, "chunk=")
	switch {
	case s == "line":
		*f = Format{kind: line}
	case s == "len32":
		*f = Format{kind: len32}
	case isChunk:
		n, err := quantity.Bytes(size)
		if err != nil || n < 1 {
			return fmt.Errorf("chunk size %q: want a number of bytes from 1 on, like 4096 or 64K", size)
		}
		*f = Format{kind: chunk, size: n}
	default:
		return fmt.Errorf("unknown framing %q: want line, len32 or chunk=BYTES", s)
	}
	return nil
}

func (f *Format) String() string {
	switch f.kind {
	case len32:
		return "len32"
	case chunk:
		return "chunk=" + strconv.Itoa(f.size)
	}
	return "line"
}

// Chunk is the size of chunks, or 0 where records have lengths of their own.
func (f Format) Chunk() int { return f.size }

// Lines reports whether records are lines.
func (f Format) Lines() bool { return f.kind == line }

// Overhead is how many bytes Write adds to a record.
func (f Format) Overhead() int {
	switch f.kind {
	case line:
		return 1
	case len32:
		return lengthSize
	}
	return 0
}

// Write writes one record. The record of a line that contains newlines is written as
// it is and will be read as several.
func (f Format) Write(w *bufio.Writer, record []byte) error {
	if f.kind == len32 {
		var length [lengthSize]byte
		binary.LittleEndian.PutUint32(length[:], uint32(len(record)))
		if _, err := w.Write(length[:]); err != nil {
			return err
		}
	}
	if _, err := w.Write(record); err != nil {
		return err
	}
	if f.kind == line {
		return w.WriteByte('\n')
	}
	return nil
}
