package recording

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Limits say when a recording is rotated.
type Limits struct {
	Size int64 // bytes that a part may have, unless a single message takes more; 0: no limit
	Keep int   // parts that stay behind the newest; older ones are removed. 0: all
}

// Writer writes a recording. It is for one goroutine. What was given to Write is in the file when Flush
// has returned nil.
type Writer struct {
	path   string
	header Header
	limits Limits

	file     *os.File // nil: closed
	size     int64    // of the file, as far as it was written
	buf      []byte
	pending  []pending // what is in buf
	messages int       // in this part, those in buf too
	broken   bool      // a file did not take everything

	Rotated  int    // parts that were begun behind the first of this Writer
	Messages uint64 // that this Writer has written, and that are in a file
	Bytes    uint64 // of those
}

// pending is an item that was not written yet.
type pending struct {
	end     int // offset in the buffer behind it
	message bool
	bytes   int
}

// Create begins a recording. The header's Created and Part are set here. Errors: fs.ErrExist if there is a
// recording of that name, or a part of one; those of the file system.
func Create(path string, h Header, limits Limits) (*Writer, error) {
	parts, err := partsOf(path)
	if err != nil {
		return nil, err
	}
	if len(parts) > 0 {
		return nil, &fs.PathError{Op: "record", Path: parts[0].path, Err: fs.ErrExist}
	}
	if _, err := os.Lstat(path); err == nil { // whatever it is
		return nil, &fs.PathError{Op: "record", Path: path, Err: fs.ErrExist}
	}
	w := &Writer{path: path, header: h, limits: limits}
	w.header.Part = 1
	return w, w.begin()
}

// Append goes on with a recording, or begins it if there is none. last is the last message that is in it, nil if there
// is none. A torn tail is cut off. If it is of another ring than h says, a new part is begun, and last is nil.
// Errors: *CorruptError; ErrFormat; those of the file system.
func Append(path string, h Header, limits Limits) (w *Writer, last *Entry, err error) {
	parts, err := partsOf(path)
	if err != nil {
		return nil, nil, err
	}
	w = &Writer{path: path, header: h, limits: limits}
	w.header.Part = 1
	if len(parts) == 0 {
		return w, nil, w.begin()
	}
	newest := parts[len(parts)-1]
	old, last, whole, err := lastOf(newest.path)
	if err == nil && last == nil && len(parts) > 1 { // killed before the first message of a part was written
		_, last, _, err = lastOf(parts[len(parts)-2].path)
	}
	if err != nil {
		return nil, nil, err
	}
	other := old.UUID != h.UUID
	if other {
		last = nil
	}
	if newest.path == path && other {
		if err := os.Rename(path, partName(path, old.Part)); err != nil {
			return nil, nil, err
		}
	}
	if newest.path != path || other { // or killed between renaming and creating
		w.header.Part = old.Part + 1
		return w, last, w.begin()
	}
	if w.file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, nil, err
	}
	w.header.Part, w.size = old.Part, whole
	if last != nil {
		w.messages = 1 // or more
	}
	if err := w.file.Truncate(whole); err != nil {
		return nil, nil, errors.Join(err, w.file.Close())
	}
	if _, err := w.file.Seek(whole, io.SeekStart); err != nil {
		return nil, nil, errors.Join(err, w.file.Close())
	}
	return w, last, nil
}

// lastOf reads a part to its end.
func lastOf(path string) (h Header, last *Entry, whole int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return h, nil, 0, err
	}
	defer f.Close()
	r, err := NewReader(f, path)
	if err != nil {
		return h, nil, 0, err
	}
	for {
		e, err := r.Next()
		if err == io.EOF {
			return r.Header, last, r.Whole(), nil
		}
		if err != nil {
			return h, nil, 0, err
		}
		e.Bytes = nil // of the reader
		last = &e
	}
}

// begin creates the part that the header names. It appears when its header is whole.
func (w *Writer) begin() error {
	w.header.Created = time.Now()
	head, err := w.header.encode()
	if err != nil {
		return err
	}
	unborn := w.path + ".new"
	if w.file, err = os.OpenFile(unborn, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return err
	}
	if _, err = w.file.Write(head); err == nil {
		err = os.Rename(unborn, w.path)
	}
	if err != nil {
		return errors.Join(w.named(err), w.closeFile(), os.Remove(unborn))
	}
	w.size, w.messages = int64(len(head)), 0
	return nil
}

// Write adds a message. It is written with others when there are enough, or by Flush. Errors: those of
// Flush; a *WriteError of rotation.
func (w *Writer) Write(e Entry) error {
	length := int64(itemBase + len(e.Bytes))
	if w.limits.Size > 0 && w.messages > 0 && w.size+int64(len(w.buf))+length > w.limits.Size {
		if err := w.rotate(e.Time); err != nil {
			return w.giveUp(err)
		}
	}
	w.add(item{what: isMessage, kind: e.Kind, record: e.Position.Record, index: uint64(e.Position.Index),
		time: e.Time.UnixNano(), sequence: e.Sequence, missed: e.Missed}, e.Bytes)
	w.messages++
	if len(w.buf) < bufferSize {
		return nil
	}
	return w.Flush()
}

func (w *Writer) add(it item, payload []byte) {
	w.buf = appendItem(w.buf, it, payload)
	w.pending = append(w.pending, pending{len(w.buf), it.what == isMessage, len(payload)})
}

// giveUp is the error of a rotation for which a message has to wait that is in no file now.
func (w *Writer) giveUp(err error) error {
	w.broken = true
	lost, ok := errors.AsType[*WriteError](err)
	if !ok {
		lost = &WriteError{0, err}
		err = lost
	}
	lost.Lost++
	return err
}

// WriteError says that a file did not take everything. What it took is whole.
type WriteError struct {
	Lost int // messages that were given to Write and are not in the file
	Err  error
}

// Error says how many messages are lost.
func (e *WriteError) Error() string {
	return fmt.Sprintf("%v: the last %d messages are not recorded", e.Err, e.Lost)
}

// Unwrap returns why.
func (e *WriteError) Unwrap() error { return e.Err }

// Flush writes out what Write was given. If the file does not take all of it (a full disk), it is cut behind the
// last message that is whole. Errors: *WriteError, after which the Writer is good for nothing but Close.
func (w *Writer) Flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	n, err := w.file.Write(w.buf)
	whole, lost := 0, 0
	for _, p := range w.pending {
		in := p.end <= n
		switch {
		case in && p.message:
			w.Messages++
			w.Bytes += uint64(p.bytes)
		case p.message:
			lost++
		}
		if in {
			whole = p.end
		}
	}
	w.size += int64(whole)
	if err != nil {
		w.broken = true
		err = errors.Join(&WriteError{lost, w.named(err)}, w.named(w.file.Truncate(w.size)))
	}
	w.buf, w.pending = w.buf[:0], w.pending[:0]
	if cap(w.buf) > 4*bufferSize { // of one long message
		w.buf = nil
	}
	return err
}

// named has an error of the file name the recording: the file had another name when it was opened.
func (w *Writer) named(err error) error {
	if of, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: of.Op, Path: w.path, Err: of.Err}
	}
	return err
}

// Sync has the system write the file to its disk.
func (w *Writer) Sync() error { return w.named(w.file.Sync()) }

// rotate ends the part and begins the next. A part has its last name before the next one exists.
func (w *Writer) rotate(now time.Time) error {
	if err := w.end(End{Time: now, Reason: "rotated"}); err != nil {
		return err
	}
	if err := os.Rename(w.path, partName(w.path, w.header.Part)); err != nil {
		return err
	}
	w.header.Part++
	if err := w.begin(); err != nil {
		return err
	}
	w.Rotated++
	return w.prune()
}

// prune removes the oldest parts.
func (w *Writer) prune() error {
	if w.limits.Keep == 0 {
		return nil
	}
	parts, err := partsOf(w.path)
	if err != nil {
		return err
	}
	for _, p := range parts[:max(0, len(parts)-1-w.limits.Keep)] {
		if err := os.Remove(p.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// end writes an end and closes the file.
func (w *Writer) end(e End) error {
	w.add(item{what: isEnd, time: e.Time.UnixNano(), missed: e.Missed}, []byte(e.Reason))
	err := w.Flush()
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.closeFile())
}

func (w *Writer) closeFile() error {
	f := w.file
	w.file = nil
	if f == nil {
		return nil
	}
	return w.named(f.Close())
}

// Close writes why there is no more, and what Write was given; after a *WriteError it closes the file only. Nothing
// may be called after it.
func (w *Writer) Close(e End) error {
	if w.broken {
		return w.closeFile()
	}
	return w.end(e)
}
