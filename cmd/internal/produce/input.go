package produce

import (
	"context"
	"os"
)

func isRegular(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// open opens a file for reading. That of a named pipe waits for its writer; ctx ends
// the wait.
func open(ctx context.Context, name string) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	opened := make(chan result, 1)
	go func() {
		f, err := os.Open(name)
		opened <- result{f, err}
	}()
	select {
	case r := <-opened:
		return r.f, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx) // what is opened later ends with the process
	}
}

// checked reads from a file that does not make us wait, until ctx ends.
type checked struct {
	ctx context.Context
	f   *os.File
}

func (c checked) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.f.Read(p)
}
