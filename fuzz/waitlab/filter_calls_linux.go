//go:build amd64 || arm64

package main

import "golang.org/x/sys/unix"

var sysvCalls = []uint32{unix.SYS_SEMGET, unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP, unix.SYS_SEMCTL}
