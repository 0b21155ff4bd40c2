package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// listen makes a socket at path, of which only its user can connect to one in the file system.
// EADDRINUSE: somebody listens there.
func listen(path string) (*net.UnixListener, error) {
	address := &net.UnixAddr{Name: path, Net: "unix"}
	if strings.HasPrefix(path, "@") {
		return net.ListenUnix("unix", address)
	}
	// One consumer at a time looks and acts: else one could take away the socket that another
	// has just made. The lock of a directory leaves nothing.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("-unix: %w", err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("-unix: lock %s: %w", dir.Name(), busy(err))
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("-unix: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("-unix: %s is no socket: %w", path, fs.ErrExist)
	default:
		alive, err := socketAt(path)
		if err != nil {
			return nil, fmt.Errorf("-unix: %w", err)
		}
		if alive {
			return nil, syscall.EADDRINUSE
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("-unix: %w", err)
		}
	}
	l, err := net.ListenUnix("unix", address)
	if err != nil {
		return nil, fmt.Errorf("-unix: %w", err)
	}
	return l, nil
}

// busy makes of a lock that is taken a socket that is.
func busy(err error) error {
	if err == unix.EWOULDBLOCK {
		return syscall.EADDRINUSE
	}
	return err
}
