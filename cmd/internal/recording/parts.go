package recording

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// part is a file of a recording.
type part struct {
	path   string
	number int // 0: the newest, which has the recording's name
}

const digits = 6

// partName is what a part is called that was rotated away.
func partName(path string, number int) string { return fmt.Sprintf("%s.%0*d", path, digits, number) }

// partsOf lists the parts of a recording, the oldest first. None is no error.
func partsOf(path string) (parts []part, err error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range list {
		suffix, ok := strings.CutPrefix(entry.Name(), base+".")
		n, err := strconv.Atoi(suffix)
		if !ok || err != nil || n < 1 || len(suffix) < digits {
			continue
		}
		parts = append(parts, part{filepath.Join(dir, entry.Name()), n})
	}
	slices.SortFunc(parts, func(a, b part) int { return a.number - b.number })
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		parts = append(parts, part{path, 0})
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return parts, nil
}

// Recording reads all parts of a recording, one after the other. It is for one goroutine.
type Recording struct {
	Header Header // of the first part that is there

	path  string
	parts []part // still to be read
	file  *os.File
	r     *Reader
	last  int // number of the part before, by its header
	torn  int64
	end   *End
}

// Open opens the recording of that name, or, by the name of a part, that part alone. Errors: fs.ErrNotExist; ErrFormat;
// *CorruptError.
func Open(path string) (*Recording, error) {
	parts, err := partsOf(path)
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 || parts[len(parts)-1].number == 0 && len(parts) == 1 {
		parts = []part{{path, 0}} // if it is not there, opening says so
	}
	c := &Recording{path: path, parts: parts}
	if err := c.open(); err != nil {
		return nil, err
	}
	c.Header = c.r.Header
	return c, nil
}

// open opens the next part.
func (c *Recording) open() (err error) {
	if err := c.Close(); err != nil {
		return err
	}
	if c.file, err = os.Open(c.parts[0].path); err != nil {
		return err
	}
	if c.r, err = NewReader(c.file, c.parts[0].path); err != nil {
		return errors.Join(err, c.Close())
	}
	number := c.r.Header.Part
	if c.last > 0 && number != c.last+1 {
		err := &CorruptError{c.parts[0].path, 0, fmt.Sprintf("it is part %d, and stands behind part %d", number, c.last)}
		return errors.Join(err, c.Close())
	}
	c.parts, c.last = c.parts[1:], number
	return nil
}

// Next returns the next message, and io.EOF behind the last. A part that was cut off is no error: whoever wrote it
// was killed, and went on in the next one. Errors: *CorruptError, those of the files.
func (c *Recording) Next() (Entry, error) {
	for {
		if c.r == nil {
			return Entry{}, io.EOF
		}
		e, err := c.r.Next()
		if err != io.EOF {
			return e, err
		}
		c.torn, c.end = c.torn+c.r.Torn(), c.r.End()
		if len(c.parts) == 0 {
			c.r = nil
			if err := c.Close(); err != nil {
				return Entry{}, err
			}
			return Entry{}, io.EOF
		}
		if err := c.open(); err != nil {
			return Entry{}, err
		}
	}
}

// End is as that of a Reader, of the newest part.
func (c *Recording) End() *End { return c.end }

// Torn is how many bytes of items that are not whole were met in all parts.
func (c *Recording) Torn() int64 { return c.torn }

// Close closes the files.
func (c *Recording) Close() error {
	if c.file == nil {
		return nil
	}
	err := c.file.Close()
	c.file = nil
	return err
}
