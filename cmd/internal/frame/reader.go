package frame

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// readSize is how much a Reader asks for at a time.
const readSize = 256 << 10

// Reader reads records. Its memory grows with the longest record, up to the limit
// given to NewReader.
type Reader struct {
	r      io.Reader
	format Format
	max    int
	buf    []byte
	start  int // of what is not cut yet
	end    int
	err    error // of r
	n      int64 // records cut, or passed over

	long    Long
	onLong  func(line int64)
	inside  bool // a long line of which some pieces are cut
	passing bool // a long line of which the rest is passed over
}

// Long is what becomes of a line that is longer than the limit.
type Long int

// The zero value is LongFail, which is an error.
const (
	LongFail  Long = iota
	LongSplit      // as many records as it takes; all but the last are of the greatest length
	LongCut        // one record of the greatest length, and the rest passed over
	LongSkip       // passed over
)

// NewReader makes a Reader of records of at most max bytes.
func NewReader(r io.Reader, f Format, max int) *Reader {
	return &Reader{r: r, format: f, max: max, buf: make([]byte, readSize)}
}

// Long says what becomes of long lines, and calls told, which may be nil, once for each
// that is not an error. Only the framing line has such.
func (r *Reader) Long(what Long, told func(line int64)) {
	if r.format.kind == line {
		r.long, r.onLong = what, told
	}
}

// LongError tells of a record that is longer than allowed.
type LongError struct {
	What   string // "line" or "record"
	Number int64  // from 1 on
	Size   int64  // bytes; 0 for a line whose end has not been seen
	Max    int
}

func (e *LongError) Error() string {
	if e.Size == 0 {
		return fmt.Sprintf("%s %d is longer than %d bytes", e.What, e.Number, e.Max)
	}
	return fmt.Sprintf("%s %d has %d bytes, more than %d", e.What, e.Number, e.Size, e.Max)
}

// TruncatedError tells that the input ends inside a record.
type TruncatedError struct {
	Number int64 // of the record, from 1 on
	Got    int   // bytes, the length included
	Want   int
}

func (e *TruncatedError) Error() string {
	return fmt.Sprintf("input ends inside record %d: %d of its %d bytes are there", e.Number, e.Got, e.Want)
}

// Unwrap returns io.ErrUnexpectedEOF.
func (e *TruncatedError) Unwrap() error { return io.ErrUnexpectedEOF }

// Next returns the next record, and io.EOF behind the last one. It is valid until
// the next call of Next. Other errors: *LongError, *TruncatedError, and those of the
// input.
func (r *Reader) Next() ([]byte, error) {
	for {
		record, ok, err := r.cut()
		if ok || err != nil {
			return record, err
		}
		if r.err != nil {
			return nil, r.err
		}
		r.fill()
	}
}

// Buffered returns the next record if all of it has been read already. It never
// waits, and what Next returned before stays valid.
func (r *Reader) Buffered() ([]byte, bool) {
	record, ok, err := r.cut()
	return record, ok && err == nil // Next will find the error again
}

// Rest is what was read behind the last record. It is valid until the next call.
func (r *Reader) Rest() []byte { return r.buf[r.start:r.end] }

// cut takes one record off the front of what was read; ok is false when more has to
// be read first.
func (r *Reader) cut() (record []byte, ok bool, err error) {
	last := r.err == io.EOF
	var used int
	if (r.passing || r.long == LongSkip) && !r.pass(last) {
		return nil, false, nil
	}
	b := r.buf[r.start:r.end]
	switch r.format.kind {
	case line:
		record, used, err = r.cutLine(b, last)
	case len32:
		record, used, err = r.cutLen32(b, last)
	case chunk:
		if len(b) >= r.format.size {
			record, used = b[:r.format.size], r.format.size
		} else if last {
			record, used = b, len(b)
		}
	}
	if used == 0 || err != nil {
		return nil, false, err
	}
	r.start += used
	if !r.inside {
		r.n++
	}
	return record, true, nil
}

// pass passes over what no record is made of: the rest of a line that is being passed over,
// and long lines that are to be. false: more has to be read first.
func (r *Reader) pass(last bool) bool {
	for {
		b := r.buf[r.start:r.end]
		i := bytes.IndexByte(b, '\n')
		switch {
		case r.passing && i < 0:
			r.start = r.end
			return last // nothing is left to cut
		case r.passing:
			r.start += i + 1
			r.passing = false
		case r.long == LongSkip && r.tooLong(b, i):
			r.passing = true
			r.n++
			r.tell(r.n)
		default:
			return true
		}
	}
}

// tooLong reports whether the line at the begin of b, with its newline at i if that was
// read, is longer than the limit.
func (r *Reader) tooLong(b []byte, i int) bool { return i > r.max || i < 0 && len(b) > r.max }

func (r *Reader) tell(line int64) {
	if r.onLong != nil {
		r.onLong(line)
	}
}

// cutLine cuts a line, or a piece of a long one. Such a piece is only cut when more of its
// line is there, so that no piece is empty.
func (r *Reader) cutLine(b []byte, last bool) (record []byte, used int, err error) {
	i := bytes.IndexByte(b, '\n')
	if r.tooLong(b, i) {
		if r.long == LongFail {
			return nil, 0, &LongError{What: "line", Number: r.n + 1, Size: int64(max(i, 0)), Max: r.max}
		}
		if !r.inside {
			r.tell(r.n + 1)
		}
		r.inside, r.passing = r.long == LongSplit, r.long == LongCut
		return b[:r.max], r.max, nil
	}
	switch {
	case i >= 0:
		r.inside = false
		return b[:i], i + 1, nil
	case last:
		r.inside = false
		return b, len(b), nil
	}
	return nil, 0, nil
}

func (r *Reader) cutLen32(b []byte, last bool) (record []byte, used int, err error) {
	want := lengthSize
	if len(b) >= lengthSize {
		size := int64(binary.LittleEndian.Uint32(b))
		if size > int64(r.max) {
			return nil, 0, &LongError{What: "record", Number: r.n + 1, Size: size, Max: r.max}
		}
		if want += int(size); len(b) >= want {
			return b[lengthSize:want], want, nil
		}
	}
	if last && len(b) > 0 {
		return nil, 0, &TruncatedError{Number: r.n + 1, Got: len(b), Want: want}
	}
	return nil, 0, nil
}

// fill reads once, behind what is there. cut bounds how much that can be: with more
// than a record's worth it finds one, or an error.
func (r *Reader) fill() {
	if r.start > 0 {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	if r.end == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	for range 100 {
		n, err := r.r.Read(r.buf[r.end:])
		r.end += n
		r.err = err
		if n > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}
