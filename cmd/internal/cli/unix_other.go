//go:build !linux

package cli

import (
	"net"

	"github.com/shmring/shmring"
)

// listen needs Linux, as sealed rings do.
func listen(string) (*net.UnixListener, error) { return nil, shmring.ErrUnsupported }
