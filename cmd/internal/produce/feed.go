package produce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/frame"
)

// feeder sends the records of inputs.
type feeder struct {
	*outlet
	format frame.Format
	batch  int
	left   int64 // records still to be taken; negative: no limit
	long   frame.Long
	msgs   [][]byte
	out    *cli.Out
	cut    bool // an input was not read to its end
}

// feed sends the records of one input until it ends, the count is reached, or ctx
// ends.
func (f *feeder) feed(ctx context.Context, r io.Reader, name string) error {
	records := frame.NewReader(r, f.format, f.maxMessage())
	records.Long(f.long, func(line int64) { f.tellLong(line, name) })
	for f.left != 0 {
		record, err := records.Next()
		if err == io.EOF {
			return nil
		}
		if errors.Is(err, cli.ErrInterrupted) {
			f.tellOfMore(name)
			return f.feedRest(records.Rest(), name)
		}
		if err != nil {
			return explain(err, name)
		}
		f.left--
		if f.batch == 1 {
			err = f.send(record)
		} else {
			err = f.sendBatch(f.gather(record, records))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// feedRest deals with what was read of a record when the input was interrupted.
func (f *feeder) feedRest(rest []byte, name string) error {
	if len(rest) == 0 {
		return nil
	}
	if f.format.Chunk() > 0 {
		return f.send(rest)
	}
	f.out.Notice("%s: interrupted inside a record: the %d bytes of it that were read are not sent", name, len(rest))
	return nil
}

// tellLong counts a long line. Of the first one the user is told: there may be one in every
// second.
func (f *feeder) tellLong(line int64, name string) {
	if f.totals.LongLines++; f.totals.LongLines > 1 {
		return
	}
	i := slices.IndexFunc(longs, func(c cli.Choice[frame.Long]) bool { return c.Value == f.long })
	f.out.Remark("%s: line %d is longer than %d bytes, the longest message this ring takes: -long %s; "+
		"the summary counts such lines", name, line, f.maxMessage(), longs[i].Word)
}

// gather puts records that need not be waited for behind the first.
func (f *feeder) gather(first []byte, records *frame.Reader) [][]byte {
	f.msgs = append(f.msgs[:0], first)
	for len(f.msgs) < f.batch && f.left != 0 {
		record, ok := records.Buffered()
		if !ok {
			break
		}
		f.msgs = append(f.msgs, record)
		f.left--
	}
	return f.msgs
}

// directFrom is the chunk size from which on reading into the ring itself is cheaper
// than through a buffer: a fifth less processor time at 256 KiB. Below it costs more
// in system calls than it saves in copying.
const directFrom = 64 << 10

// feedDirect is feed for large chunks: it reads them straight into the ring. It may
// wait for input with a claim open, so it is not for rings of many producers, who
// would wait too.
func (f *feeder) feedDirect(ctx context.Context, r io.Reader, name string) error {
	size := f.format.Chunk()
	for f.left != 0 {
		if ctx.Err() != nil {
			f.tellOfMore(name)
			return nil
		}
		sent, err := f.sendClaim(size, 0, func(b []byte) (int, error) {
			n, err := io.ReadFull(r, b)
			if err == io.ErrUnexpectedEOF || errors.Is(err, cli.ErrInterrupted) && n > 0 {
				err = nil // what was read is the last chunk
			}
			return n, err
		})
		if err == nil && !sent {
			_, err = io.CopyN(io.Discard, r, int64(size))
		}
		if errors.Is(err, cli.ErrInterrupted) {
			continue
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return explain(err, name)
		}
		f.left--
	}
	return nil
}

func explain(err error, name string) error {
	var long *frame.LongError
	var path *fs.PathError
	switch {
	case errors.As(err, &long):
		return fmt.Errorf("%s: %w, the longest message this ring takes: make the ring with a larger -max-message, "+
			"or send lines with -long split and anything with -frame chunk=BYTES", name, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: %w: was it written with len32 framing?", name, err)
	case errors.As(err, &path):
		return err // names the file
	}
	return fmt.Errorf("%s: %w", name, err)
}

// stdinName is how standard input is named in arguments and messages.
const (
	stdinArg  = "-"
	stdinName = "standard input"
)

// feedAll sends the records of all inputs.
func (f *feeder) feedAll(files []string, stdin io.Reader) error {
	if len(files) == 0 {
		files = []string{stdinArg}
	}
	for i, name := range files {
		if i > 0 && f.taking.Err() != nil {
			f.cut = true
			return nil
		}
		if f.left == 0 {
			return nil
		}
		if err := f.feedFile(name, stdin); err != nil {
			return err
		}
	}
	return nil
}

func (f *feeder) feedFile(name string, stdin io.Reader) error {
	if name == stdinArg {
		return f.feedReader(stdin, stdinName)
	}
	file, err := cli.OpenFile(f.taking, name, os.O_RDONLY, 0)
	if errors.Is(err, cli.ErrInterrupted) {
		f.cut = true
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	return f.feedReader(file, name)
}

// tellOfDraining says that SIGTERM has come and the input may go on.
func (f *feeder) tellOfDraining(name string) {
	if errors.Is(context.Cause(f.taking), cli.ErrTerminated) {
		f.out.Remark("SIGTERM: sending what comes from %s until it ends, for %v at most", name, f.drainFor)
	}
}

// tellOfMore notes that the input did not end in the time that it had.
func (f *feeder) tellOfMore(name string) {
	f.cut = true
	if f.drainFor > 0 && errors.Is(context.Cause(f.draining), cli.ErrTerminated) {
		f.out.Notice("%s did not end within %v of SIGTERM: what comes later is not sent", name, f.drainFor)
	}
}

func (f *feeder) feedReader(r io.Reader, name string) error {
	ctx := f.taking
	if file, ok := r.(*os.File); ok {
		info, err := file.Stat()
		if err != nil {
			return err
		}
		if isStream(info.Mode()) && f.drainFor > 0 {
			stop := context.AfterFunc(f.taking, func() { f.tellOfDraining(name) })
			defer stop()
			ctx = f.draining
		}
		input, stop, err := interruptible(ctx, file)
		if err != nil {
			return err
		}
		defer stop()
		r = input
	}
	if f.format.Chunk() >= directFrom && f.fan == nil && f.p.Info().Kind == shmring.KindSPSC {
		return f.feedDirect(ctx, r, name)
	}
	return f.feed(ctx, r, name)
}
