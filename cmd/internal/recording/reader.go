package recording

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/shmring/shmring"
)

// Reader reads one part. It is for one goroutine. Its memory grows with what the file really has, not with
// what it says.
type Reader struct {
	Header Header

	r       *bufio.Reader
	path    string
	buf     []byte
	whole   int64 // offset behind the last item that was read
	torn    int64
	end     *End // the last item, if it was one
	stopped error
}

const bufferSize = 256 << 10

// NewReader reads the header. path is what errors call the file. Errors: ErrFormat, *CorruptError, those of r.
func NewReader(r io.Reader, path string) (*Reader, error) {
	f := &Reader{r: bufio.NewReaderSize(r, bufferSize), path: path}
	var head [headerBase]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return nil, f.noHeader(err)
	}
	n := binary.LittleEndian.Uint32(head[8:])
	switch {
	case string(head[:len(magic)]) != magic:
		return nil, fmt.Errorf("%s: %w", path, ErrFormat)
	case n > maxHeader:
		return nil, f.corrupt("its header is %d bytes long, want at most %d", n, maxHeader)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(f.r, text); err != nil {
		return nil, f.noHeader(err)
	}
	if sum := binary.LittleEndian.Uint32(head[12:]); sum != checksum(text) {
		return nil, f.corrupt("the checksum of the header is %#x, want %#x", sum, checksum(text))
	}
	if err := json.Unmarshal(text, &f.Header); err != nil {
		return nil, f.corrupt("header: %v", err)
	}
	f.whole = headerBase + int64(n)
	return f, nil
}

func (f *Reader) noHeader(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%s: %w: it ends before its header does", f.path, ErrFormat)
	}
	return fmt.Errorf("%s: %w", f.path, err)
}

func (f *Reader) corrupt(format string, args ...any) error {
	return &CorruptError{f.path, f.whole, fmt.Sprintf(format, args...)}
}

// Next returns the next message, and io.EOF behind the last one that is whole: End and Torn say what is
// there. Errors: *CorruptError, and those of the file. An error comes again.
func (f *Reader) Next() (Entry, error) {
	for f.stopped == nil {
		it, payload, err := f.item()
		if err != nil {
			f.stopped = err
			break
		}
		f.end = nil
		at := time.Unix(0, it.time)
		if it.what == isEnd {
			f.end = &End{at, string(payload), it.missed}
			continue
		}
		return Entry{at, shmring.Position{Record: it.record, Index: uint32(it.index)}, it.kind, it.sequence, it.missed,
			payload}, nil
	}
	return Entry{}, f.stopped
}

// item reads the next one.
func (f *Reader) item() (it item, payload []byte, err error) {
	f.buf = append(f.buf[:0], make([]byte, itemBase)...)
	if n, err := io.ReadFull(f.r, f.buf); err != nil {
		return it, nil, f.cut(n, err)
	}
	it, ok := parseItem(f.buf)
	switch {
	case !ok:
		if n, zeros := f.onlyZeros(); zeros {
			return it, nil, f.cut(n, io.EOF)
		}
		return it, nil, f.corrupt("the checksum of an item does not fit")
	case it.what > isEnd:
		return it, nil, f.corrupt("an item of sort %d, which this program does not know", it.what)
	case it.index > 1<<32-1:
		return it, nil, f.corrupt("index %d of a position", it.index)
	}
	payload, err = f.payload(int64(it.length))
	if err != nil {
		return it, nil, err
	}
	if sum := checksum(payload); sum != it.sum {
		return it, nil, f.corrupt("the checksum of a message is %#x, want %#x", sum, it.sum)
	}
	f.whole += itemBase + int64(it.length)
	return it, payload, nil
}

// payload reads n bytes: the buffer grows with them.
func (f *Reader) payload(n int64) ([]byte, error) {
	f.buf = f.buf[:0]
	for int64(len(f.buf)) < n {
		had := len(f.buf)
		f.buf = append(f.buf, make([]byte, min(n-int64(had), bufferSize))...)
		if m, err := io.ReadFull(f.r, f.buf[had:]); err != nil {
			return nil, f.cut(itemBase+had+m, err)
		}
	}
	return f.buf, nil
}

// cut ends at a torn tail of n bytes, or with the error of the file.
func (f *Reader) cut(n int, err error) error {
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		return fmt.Errorf("%s: at byte %d: %w", f.path, f.whole, err)
	}
	f.torn = int64(n)
	return io.EOF
}

// onlyZeros reports whether nothing but zeros follows from the item in the buffer on, and how many.
func (f *Reader) onlyZeros() (n int, is bool) {
	for b := f.buf; ; {
		for _, c := range b {
			if c != 0 {
				return n, false
			}
		}
		n += len(b)
		m, err := f.r.Read(f.buf[:cap(f.buf)])
		if err != nil && m == 0 {
			return n, err == io.EOF
		}
		b = f.buf[:m]
	}
}

// End is why nobody wrote any further, nil if there is no such word at the end of the file: whoever wrote it was
// killed, or is still at it. It is known when Next has returned io.EOF.
func (f *Reader) End() *End { return f.end }

// Torn is how many bytes of an item that is not whole are at the end of the file, when Next has returned io.EOF.
func (f *Reader) Torn() int64 { return f.torn }

// Whole is the offset behind the last item that was read, an end too.
func (f *Reader) Whole() int64 { return f.whole }
