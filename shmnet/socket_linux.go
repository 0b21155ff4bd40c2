package shmnet

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func accept(ctx context.Context, path string, conn *net.UnixConn, cfg Config) (*Conn, error) {
	return shake(ctx, path, conn, cfg, (*handshake).accept)
}

func dial(ctx context.Context, path string, cfg Config) (*Conn, error) {
	bounded, cancel := context.WithTimeoutCause(ctx, cfg.Timeout, &slowError{cfg.Timeout})
	defer cancel()
	conn, err := connect(bounded, path)
	if err != nil {
		return nil, err
	}
	return shake(ctx, path, conn, cfg, (*handshake).dial)
}

// connect connects to a socket. Where there is no room in the backlog the system says EAGAIN, and
// it is tried again.
func connect(ctx context.Context, path string) (*net.UnixConn, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, shortPause) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, syscall.EAGAIN) {
			return nil, cause(err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// listenAt makes the socket of a listener. unlink removes it.
func listenAt(path string, perm fs.FileMode) (l *net.UnixListener, unlink func() error, err error) {
	addr := &net.UnixAddr{Name: path, Net: "unix"}
	if strings.HasPrefix(path, "@") {
		l, err = net.ListenUnix("unix", addr)
		return l, func() error { return nil }, cause(err)
	}
	unlock, err := lockDirectory(path)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	l, err = net.ListenUnix("unix", addr)
	if errors.Is(err, syscall.EADDRINUSE) && isLeftOver(path) {
		if err := os.Remove(path); err != nil {
			return nil, nil, err
		}
		l, err = net.ListenUnix("unix", addr)
	}
	if err != nil {
		return nil, nil, cause(err)
	}
	l.SetUnlinkOnClose(false) // there may be a successor's
	var own os.FileInfo
	if err = os.Chmod(path, perm); err == nil {
		own, err = os.Lstat(path)
	}
	if err != nil {
		_ = l.Close()
		return nil, nil, err
	}
	return l, func() error { return removeOwn(path, own) }, nil
}

// cause is what is inside an error of package net, which ours take the place of.
func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// lockDirectory keeps others of this package from making or removing a socket in the same directory
// meanwhile. Where the directory cannot be read nobody is kept.
func lockDirectory(path string) (unlock func(), err error) {
	fd, err := unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		if err == unix.EACCES {
			return func() {}, nil
		}
		return nil, &fs.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		// Who may read the directory can hold the lock as long as it likes.
		if err != unix.EWOULDBLOCK && err != unix.EINTR || time.Since(begin) > time.Second {
			return func() { _ = unix.Close(fd) }, nil
		}
	}
}

// isLeftOver tells whether a path is a socket at which nobody listens any more.
func isLeftOver(path string) bool {
	st, err := os.Lstat(path)
	if err != nil || st.Mode()&fs.ModeType != fs.ModeSocket {
		return false
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// removeOwn removes the socket of a listener that closes, unless it is a successor's by now.
func removeOwn(path string, own fs.FileInfo) error {
	unlock, err := lockDirectory(path)
	if err != nil {
		return nil // the directory is gone, and the socket with it
	}
	defer unlock()
	if now, err := os.Lstat(path); err != nil || !os.SameFile(own, now) {
		return nil
	}
	return os.Remove(path)
}
