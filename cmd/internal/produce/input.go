package produce

import (
	"context"
	"io"
	"io/fs"
	"os"
	"time"
)

func isRegular(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// isStream reports whether a file is written while it is read, by somebody who may have last
// words: a pipe or a socket.
func isStream(mode fs.FileMode) bool { return mode&(fs.ModeNamedPipe|fs.ModeSocket) != 0 }

// drainFor is how long the input has to end after SIGTERM: nobody has last words in a file.
func (c *config) drainFor(stdin io.Reader) time.Duration {
	if c.generate >= 0 {
		return 0
	}
	files := c.files
	if len(files) == 0 {
		files = []string{stdinArg}
	}
	for _, name := range files {
		var info fs.FileInfo
		var err error
		if f, ok := stdin.(*os.File); ok && name == stdinArg {
			info, err = f.Stat()
		} else {
			info, err = os.Stat(name)
		}
		if err == nil && isStream(info.Mode()) {
			return c.drain
		}
	}
	return 0
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
