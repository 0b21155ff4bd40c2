//go:build !linux

package shmring

import (
	"os"

	"github.com/shmring/shmring/ring"
)

func who() ring.Who { return ring.Who{PID: uint32(os.Getpid())} }
