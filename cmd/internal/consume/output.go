package consume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/shmring/shmring/cmd/internal/cli"
)

// refuse returns why the records must not go to a file of which this is known: it has
// something already. Lines may always be put behind lines, and whoever starts a consumer again
// after a crash must not have to think of it. What another framing has cut is of no use with
// something in front of it, or with a torn record, so somebody has to decide.
func (c *config) refuse(info fs.FileInfo) error {
	if !info.Mode().IsRegular() || info.Size() == 0 || c.format.Lines() || c.append || c.truncate {
		return nil
	}
	return fmt.Errorf("-o: %s has %d bytes already: give -append to write behind them, or -truncate to lose them",
		c.file, info.Size())
}

// precheck finds what would make writing fail, as far as it is known before there is a ring to
// wait for.
func (c *config) precheck(stdout io.Writer) error {
	if c.verify {
		return nil
	}
	if c.file == "" {
		if err := cli.CheckWritable(stdout); err != nil {
			return fmt.Errorf("%w: give -o FILE; -o /dev/null throws the records away", err)
		}
		return nil
	}
	info, err := os.Stat(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("-o: %w", err)
	}
	return c.refuse(info)
}

// flags of the file of -o. It is always written at its end, so that whoever empties it meanwhile
// gets no hole in front of what follows.
const flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND

// openOutput opens the file of -o for the first time.
func (c *config) openOutput(ctx context.Context) (*os.File, error) {
	flag := flags
	if c.truncate {
		flag |= os.O_TRUNC
	}
	file, err := cli.OpenFile(ctx, c.file, flag, 0o666)
	if err != nil {
		return nil, err
	}
	return c.begin(file, c.refuse)
}

// begin makes a file that was opened ready for the next record.
func (c *config) begin(file *os.File, refuse func(fs.FileInfo) error) (*os.File, error) {
	info, err := file.Stat()
	if err == nil {
		err = refuse(info)
	}
	if err == nil && c.format.Lines() && info.Mode().IsRegular() && !endsWithNewline(c.file, info.Size()) {
		// Whoever wrote before was killed inside a line. It was not released and comes again.
		_, err = file.Write([]byte{'\n'})
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// endsWithNewline reports whether a file has whole lines only. One that may not be read might
// not: then an empty line is better than two lines that have become one.
func endsWithNewline(name string, size int64) bool {
	if size == 0 {
		return true
	}
	file, err := os.Open(name)
	if err != nil {
		return false
	}
	defer file.Close()
	var last [1]byte
	_, err = file.ReadAt(last[:], size-1)
	return err == nil && last[0] == '\n'
}

// output calls f with where the records go. The file of -o is not touched before the
// ring is open.
func (c *config) output(ctx context.Context, stdout io.Writer, f func(io.Writer) error) error {
	if c.file == "" {
		return f(stdout)
	}
	first, err := c.openOutput(ctx)
	if errors.Is(err, cli.ErrInterrupted) {
		return nil
	}
	if err != nil {
		return err
	}
	file := &outputFile{config: c, File: first}
	return errors.Join(f(file), file.Close())
}

// outputFile is the file of -o, which may become another of the same name.
type outputFile struct {
	*config
	*os.File
}

// reopen goes on with the file that has the name now. It does not wait for whoever reads a named
// pipe, and whatever is in the file stays there: it was us, or whoever asked.
func (f *outputFile) reopen() error {
	next, err := os.OpenFile(f.file, flags|syscall.O_NONBLOCK, 0o666)
	if err == nil {
		next, err = f.begin(next, func(fs.FileInfo) error { return nil })
	}
	if err != nil {
		return err
	}
	before := f.File
	f.File = next
	return before.Close()
}
