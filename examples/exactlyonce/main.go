// Command exactlyonce has one effect for each message, though messages come again when it is
// killed before it has released them:
//
//	exactlyonce JOURNAL
//
// The effect here is a line in a file. It stores, in the same step as the effect, which
// message it belongs to: the ring's UUID and the message's position. In a database the step
// would be one transaction that changes the data and the row that holds both.
//
// The UUID is needed because a ring that was removed and created again begins again with
// the same positions: without it, messages of the new ring would be taken for ones of the
// old ring that have been handled.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/shmring/shmring"
)

const ring = "hello" // that of examples/hello

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: exactlyonce JOURNAL")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, path string) error {
	// A former run that was killed may take a moment to be gone.
	c, err := shmring.OpenConsumer(ctx, ring, &shmring.Options{WaitForRole: true})
	if err != nil {
		return err
	}
	defer c.Close()
	j, err := openJournal(path, fmt.Sprintf("%x", c.Info().UUID))
	if err != nil {
		return err
	}
	defer j.file.Close()
	for m, err := range c.All(ctx) { // until io.EOF
		if err != nil {
			return err
		}
		if err := j.effect(m); err != nil {
			return err
		}
	}
	return nil
}

// journal is a file of lines "UUID POSITION TEXT".
type journal struct {
	file *os.File
	ring string // UUID
	last shmring.Position
	any  bool // the newest line is of this ring, and last is its position
}

// openJournal reads how far a former run came. A line that was cut off by a crash is no
// effect and is taken away.
func openJournal(path, uuid string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{file: f, ring: uuid}
	if err := j.resume(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return j, nil
}

func (j *journal) resume() error {
	text, err := io.ReadAll(j.file)
	if err != nil {
		return err
	}
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	if err := j.file.Truncate(int64(len(whole))); err != nil {
		return err
	}
	if _, err := j.file.Seek(int64(len(whole)), io.SeekStart); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(string(whole), "\n"), "\n")
	fields := strings.SplitN(lines[len(lines)-1], " ", 3)
	if len(fields) != 3 || fields[0] != j.ring {
		return nil // empty, or of another ring: nothing of this one was handled
	}
	j.any = true
	j.last, err = shmring.ParsePosition(fields[1])
	return err
}

// effect writes a line for a message, unless that has been done.
func (j *journal) effect(m shmring.Message) error {
	if j.any && m.Position().Compare(j.last) <= 0 {
		return nil // it came again
	}
	// One write of one line; a power failure would need a Sync, too.
	if _, err := fmt.Fprintf(j.file, "%s %v %s\n", j.ring, m.Position(), m.Bytes()); err != nil {
		return err
	}
	j.last, j.any = m.Position(), true
	return nil
}
