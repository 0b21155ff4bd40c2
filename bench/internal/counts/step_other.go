//go:build !linux || !amd64

package counts

import (
	"errors"
	"fmt"
	"runtime"
)

// Measure counts. There is no stepping here.
func Measure(string, string) (*File, error) {
	return nil, fmt.Errorf("%w: instructions are counted on linux/amd64 only, this is %s/%s", errors.ErrUnsupported,
		runtime.GOOS, runtime.GOARCH)
}
