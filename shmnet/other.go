//go:build !linux

package shmnet

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	"github.com/shmring/shmring"
)

var errSystem = fmt.Errorf("connections need Linux: %w", shmring.ErrUnsupported)

func listenAt(string, fs.FileMode) (*net.UnixListener, func() error, error) {
	return nil, nil, errSystem
}

func accept(context.Context, string, *net.UnixConn, Config) (*Conn, error) { return nil, errSystem }

func dial(context.Context, string, Config) (*Conn, error) { return nil, errSystem }

// bell is never there on this system.
type bell struct{ raw syscall.RawConn }

func (b *bell) sleep() error                { return errSystem }
func (b *bell) ring()                       {}
func (b *bell) endSleeps()                  {}
func (b *bell) setDeadline(time.Time) error { return errSystem }
func (b *bell) close()                      {}

type watcher struct{}

var watching watcher

func (watcher) remove(uint64) {}
