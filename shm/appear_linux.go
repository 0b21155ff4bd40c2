package shm

import (
	"path/filepath"

	"github.com/shmring/shmring/internal/watch"
)

// OnAppear calls f whenever the file that name means has come into being since OnAppear
// returned, and perhaps for nothing, until stop. f is called by a goroutine that others
// depend on: it must not block, nor call stop. Who waits for a file looks for it after
// OnAppear has returned, and now and then all the same: of a directory that is itself
// removed or renamed there is no news. Errors: fs.ErrNotExist (no such directory),
// [*NameError], and what the system lacks, see package internal/watch.
func OnAppear(name string, opt *Options, f func()) (stop func(), err error) {
	path, err := Path(name, opt)
	if err != nil {
		return nil, err
	}
	w, err := watch.AddName(filepath.Dir(path), filepath.Base(path), f)
	if err != nil {
		return nil, fail("watch for", path, err, "")
	}
	return w.Close, nil
}
