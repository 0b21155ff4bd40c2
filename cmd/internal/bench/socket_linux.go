package bench

import (
	"os"

	"golang.org/x/sys/unix"
)

// socketPair makes two ends of a Unix socket, which the caller closes. It has no name, so
// nothing is left of it.
func socketPair() (ends [2]*os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ends, os.NewSyscallError("socketpair", err)
	}
	return [2]*os.File{os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")}, nil
}
