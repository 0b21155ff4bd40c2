//go:build !amd64 && !arm64

package shm

import "golang.org/x/sys/unix"

var fcntlLock = unix.FcntlFlock
