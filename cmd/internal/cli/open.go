package cli

import (
	"context"
	"io/fs"
	"os"
)

// OpenFile is os.OpenFile for files that may be named pipes: opening one waits for the other
// side, and ctx ends the wait, with its cause.
func OpenFile(ctx context.Context, name string, flag int, perm fs.FileMode) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	opened := make(chan result, 1)
	go func() {
		f, err := os.OpenFile(name, flag, perm)
		opened <- result{f, err}
	}()
	select {
	case r := <-opened:
		return r.f, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx) // what is opened later ends with the process
	}
}
