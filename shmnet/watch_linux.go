package shmnet

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// watcher tells connections that their peers have gone: one goroutine for all of a process, as long
// as there are any. It waits, as others wait for a socket, for an epoll of its own to become
// readable.
type watcher struct {
	mu    sync.Mutex
	file  *os.File // of the epoll; nil: there are no connections
	conns map[uint64]func(error)
	last  uint64
}

var watching watcher

// add calls gone once when the peer of a socket is gone, also if that was before. It ends when the
// socket is closed, after which remove has to be called.
func (w *watcher) add(raw syscall.RawConn, gone func(error)) (id uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		if err := w.start(); err != nil {
			return 0, err
		}
	}
	w.last++
	id = w.last
	w.conns[id] = gone
	var refused error
	err = raw.Control(func(fd uintptr) {
		e := unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(id), Pad: int32(id >> 32)}
		// Fd does not make the file a blocking one: it is none that can block.
		control, failed := w.file.SyscallConn()
		if failed == nil {
			failed = control.Control(func(epoll uintptr) {
				refused = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, int(fd), &e)
			})
		}
		if failed != nil {
			refused = failed
		}
	})
	if err == nil {
		err = os.NewSyscallError("epoll_ctl", refused)
	}
	if err != nil {
		w.forget(id)
		return 0, err
	}
	return id, nil
}

func (w *watcher) remove(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget(id)
}

// forget is remove, inside mu. The last one ends the goroutine.
func (w *watcher) forget(id uint64) {
	delete(w.conns, id)
	if len(w.conns) == 0 && w.file != nil {
		_ = w.file.Close()
		w.file = nil
	}
}

func (w *watcher) start() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	_ = unix.SetNonblock(fd, true) // so that the runtime waits for it
	f := os.NewFile(uintptr(fd), "connections")
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return err
	}
	w.file, w.conns = f, make(map[uint64]func(error))
	go w.run(raw)
	return nil
}

// run ends when the epoll is closed.
func (w *watcher) run(raw syscall.RawConn) {
	var events [64]unix.EpollEvent
	for {
		var n int
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, failed = unix.EpollWait(int(fd), events[:], 0)
			return n > 0 || failed != nil && failed != unix.EINTR
		})
		if err != nil || failed != nil {
			return
		}
		for _, e := range events[:n] {
			w.mu.Lock()
			gone := w.conns[uint64(uint32(e.Fd))|uint64(uint32(e.Pad))<<32]
			w.mu.Unlock()
			if gone != nil {
				gone(nil)
			}
		}
	}
}
