package watch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Watch is one watch of one file, or of one name in a directory. It is given back by Close.
type Watch struct {
	l    *listener
	wd   int32
	name string // empty: a file
	f    func()

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
}

// linger is how long a listener stays that nobody needs. Its end takes the kernel some
// milliseconds, under load a second; who ends a watch does not wait for that, and who begins
// another one soon has a listener already.
const linger = time.Second

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
// tries it out by reading a byte of the file; of an empty one the error matches io.EOF too. It wraps
// [ErrUnsupported] where the system, or this file system, has no such thing; else it is
// what the kernel said, with the limit that was met.
func Add(path string, f func()) (*Watch, error) {
	w := &Watch{f: f, heard: make(chan struct{})}
	adding.Lock()
	defer adding.Unlock()
	if err := w.begin(path, unix.IN_ACCESS); err != nil {
		return nil, err
	}
	if err := w.try(path); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// AddName calls f whenever a file of that name has come into being in a directory since
// AddName returned: by creation, by a link or by a rename. f is called as that of [Add] is.
// If the directory itself is removed or renamed, nobody is told. Whether this file system
// tells of what other machines do cannot be tried out. The error is as that of Add.
func AddName(dir, name string, f func()) (*Watch, error) {
	w := &Watch{name: name, f: f, heard: make(chan struct{})}
	adding.Lock()
	defer adding.Unlock()
	if err := w.begin(dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *Watch) begin(path string, mask uint32) error {
	mu.Lock()
	defer mu.Unlock()
	l := current
	if l == nil {
		var err error
		if l, err = listen(); err != nil {
			return err
		}
	}
	wd, err := unix.InotifyAddWatch(l.fd, path, mask)
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
	if l.of[w.wd] == nil { // else somebody in this process watches the same file or directory
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
	switch n, err := unix.Pread(fd, make([]byte, 1), 0); {
	case err != nil:
		return fmt.Errorf("watch: read: %w", err)
	case n == 0: // truncated by now: of nothing that is read there is no event, and none to wait for
		return fmt.Errorf("%w: the file is empty: %w", ErrUnsupported, io.EOF)
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
	return &listener{fd: fd, file: file, of: make(map[int32]map[*Watch]struct{})}, nil
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

// Close ends the watch. A second after the last one goes the goroutine. Only the first call
// does anything.
func (w *Watch) Close() {
	mu.Lock()
	defer mu.Unlock()
	l := w.l
	w.l = nil
	if l == nil {
		return
	}
	delete(l.of[w.wd], w)
	if len(l.of[w.wd]) == 0 {
		delete(l.of, w.wd)
		_, _ = unix.InotifyRmWatch(l.fd, uint32(w.wd)) // fails if the file has gone, and the watch with it
	}
	if len(l.of) == 0 {
		time.AfterFunc(linger, l.retire)
	}
}

// retire ends a listener that nobody needs.
func (l *listener) retire() {
	mu.Lock()
	needed := current != l || len(l.of) > 0
	if !needed {
		current = nil
	}
	mu.Unlock()
	if !needed {
		_ = l.file.Close() // without mu: others do not wait for it either
	}
}

// heard is set by who was called and had a use for it.
var heard atomic.Bool

// Heard tells that a call of a watch's function was of use to somebody. Whoever may only read a
// file can make events without end, each of which costs the process that watches it; while nobody
// has a use for them, they are looked at once a millisecond. It costs an atomic load mostly.
func Heard() {
	if !heard.Load() {
		heard.Store(true)
	}
}

const (
	// idleMost is how many times in a row the listener is up for nothing before it takes its
	// time. Where two wake each other, every second time is for something.
	idleMost = 64
	// idleRest is how long it rests then, and so how late the one event may be found that is
	// meant for somebody.
	idleRest = time.Millisecond
)

func (l *listener) run() {
	var buf [4096]byte
	for idle := 0; ; idle++ {
		n, err := l.file.Read(buf[:])
		if err != nil {
			return // closed
		}
		l.dispatch(buf[:n])
		if heard.Swap(false) {
			idle = 0
		}
		if idle > idleMost {
			time.Sleep(idleRest) // what comes meanwhile becomes one event
		}
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
		end := min(len(events), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(events[12:])))
		name := string(bytes.TrimRight(events[unix.SizeofInotifyEvent:end], "\x00"))
		if mask&unix.IN_Q_OVERFLOW != 0 { // events were lost: anything may have happened
			for _, ws := range l.of {
				for w := range ws {
					w.call()
				}
			}
		}
		for w := range l.of[wd] {
			if w.name == name {
				w.call()
			}
		}
		events = events[end:]
	}
}

func (w *Watch) call() {
	w.once.Do(func() { close(w.heard) })
	w.f()
}
