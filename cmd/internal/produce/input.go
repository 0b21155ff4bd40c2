package produce

import (
	"context"
	"os"
)

func isRegular(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
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
