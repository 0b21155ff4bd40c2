//go:build !linux

package shmring

import (
	"os"

	"github.com/shmring/shmring/ring"
)

func processIdentity() ring.ProcessIdentity { return ring.ProcessIdentity{PID: uint32(os.Getpid())} }
