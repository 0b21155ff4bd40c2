//go:build linux && !amd64 && !arm64

package main

import "golang.org/x/sys/unix"

// Who cannot get a semaphore does not use one either; the calls to use them have other
// names here.
var sysvCalls = []uint32{unix.SYS_SEMGET}
