package watch

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Watch is one watch of one file. It is given back by Close.
type Watch struct {
	l  *listener
	wd int32
	f  func()

	once  sync.Once
	heard chan struct{} // closed by the first event
}

// listener is the inotify instance of the process while there are watches. There is
// at most one at a time: their number per user is small (fs.inotify.max_user_instances,
// often 128).
type listener struct {
	fd   int
	file *os.File // the same, for the poller
	of   map[int32]map[*Watch]struct{}
	done chan struct{}
}

// adding is held by Add: a thousand goroutines that lie down at the same time would else
// be in as many system calls, and the runtime would start threads for them.
var adding sync.Mutex

// mu guards everything here, and is held while functions of watches are called: after
// Close has returned, the function is not running and does not run again.
var (
	mu      sync.Mutex
	current *listener
)

// Add calls f whenever somebody has read from the file at path since Add returned; one
// call may stand for many reads, and a call may come without any. f is called by one
// goroutine for all watches: it must not block, and must not call this package. Add
// tries it out by reading a byte of the file, which must not be empty. The error wraps
// [ErrUnsupported] where the system, or this file system, has no such thing; else it is
// what the kernel said, with the limit that was met.
func Add(path string, f func()) (*Watch, error) {
	w := &Watch{f: f, heard: make(chan struct{})}
	adding.Lock()
	defer adding.Unlock()
	if err := w.begin(path); err != nil {
		return nil, err
	}
	if err := w.try(path); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

func (w *Watch) begin(path string) error {
	mu.Lock()
	defer mu.Unlock()
	l := current
	if l == nil {
		var err error
		if l, err = listen(); err != nil {
			return err
		}
	}
	wd, err := unix.InotifyAddWatch(l.fd, path, unix.IN_ACCESS)
	if err != nil {
		if current == nil {
			_ = l.file.Close()
		}
		return refusal("inotify_add_watch", err)
	}
	if current == nil {
		current = l
		go l.run()
	}
	w.l, w.wd = l, int32(wd)
	if l.of[w.wd] == nil { // else another handle of this process has the same file
		l.of[w.wd] = make(map[*Watch]struct{})
	}
	l.of[w.wd][w] = struct{}{}
	return nil
}

// try reads the file and waits for the event.
func (w *Watch) try(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("watch: open: %w", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Pread(fd, make([]byte, 1), 0); err != nil {
		return fmt.Errorf("watch: read: %w", err)
	}
	timer := time.NewTimer(trial)
	defer timer.Stop()
	select {
	case <-w.heard:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: reading the file gives no event", ErrUnsupported)
	}
}

// trial is how long the first event may take before it counts as missing.
const trial = 500 * time.Millisecond

func listen() (*listener, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, refusal("inotify_init1", err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	// A deadline is refused where the poller does not serve the descriptor.
	if err := file.SetReadDeadline(time.Time{}); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("%w: inotify cannot be polled: %w", ErrUnsupported, err)
	}
	return &listener{fd: fd, file: file, of: make(map[int32]map[*Watch]struct{}), done: make(chan struct{})}, nil
}

func refusal(call string, err error) error {
	switch err {
	case unix.EMFILE:
		return fmt.Errorf("watch: %s: %w: raise fs.inotify.max_user_instances (or RLIMIT_NOFILE)", call, err)
	case unix.ENOSPC:
		return fmt.Errorf("watch: %s: %w: raise fs.inotify.max_user_watches", call, err)
	case unix.ENOSYS, unix.EPERM, unix.EINVAL:
		return fmt.Errorf("%w: %s: %w", ErrUnsupported, call, err)
	}
	return fmt.Errorf("watch: %s: %w", call, err)
}

// Close ends the watch. With the last one goes the goroutine. Only the first call does
// anything.
func (w *Watch) Close() {
	mu.Lock()
	l := w.l
	w.l = nil
	if l == nil {
		mu.Unlock()
		return
	}
	delete(l.of[w.wd], w)
	if len(l.of[w.wd]) == 0 {
		delete(l.of, w.wd)
		_, _ = unix.InotifyRmWatch(l.fd, uint32(w.wd)) // fails if the file has gone, and the watch with it
	}
	last := len(l.of) == 0
	if last {
		current = nil
		_ = l.file.Close()
	}
	mu.Unlock()
	if last {
		<-l.done
	}
}

func (l *listener) run() {
	defer close(l.done)
	var buf [4096]byte
	for {
		n, err := l.file.Read(buf[:])
		if err != nil {
			return // closed
		}
		l.dispatch(buf[:n])
	}
}

// dispatch reads struct inotify_event: wd, mask, cookie and the length of a name, 32
// bits each.
func (l *listener) dispatch(events []byte) {
	mu.Lock()
	defer mu.Unlock()
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(events))
		mask := binary.NativeEndian.Uint32(events[4:])
		name := binary.NativeEndian.Uint32(events[12:])
		if mask&unix.IN_Q_OVERFLOW != 0 { // events were lost: anything may have been read
			for _, ws := range l.of {
				call(ws)
			}
		}
		call(l.of[wd])
		events = events[min(len(events), unix.SizeofInotifyEvent+int(name)):]
	}
}

func call(ws map[*Watch]struct{}) {
	for w := range ws {
		w.once.Do(func() { close(w.heard) })
		w.f()
	}
}
