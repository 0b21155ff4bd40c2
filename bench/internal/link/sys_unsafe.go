package link

import (
	"fmt"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/bench/internal/work"
)

// sysFile reads and writes by blocking system calls, without the runtime's poller: what
// a program in C would do.
type sysFile int

func openSys(j *work.Job, direction string, sender bool) (work.Link, error) {
	fd := inherited(direction, sender)
	return newFramer(j, sysFile(fd), sender), unix.SetNonblock(fd, false)
}

func (f sysFile) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(f), p)
		if err == unix.EINTR {
			continue
		}
		if n == 0 && err == nil {
			err = io.EOF
		}
		return max(n, 0), err
	}
}

func (f sysFile) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Write(int(f), p[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

func (f sysFile) Close() error { return unix.Close(int(f)) }

// mqLink is a POSIX message queue.
type mqLink int

func openMQ(j *work.Job, direction string, sender bool) (work.Link, error) {
	return mqLink(inherited(direction, sender)), nil
}

func (q mqLink) Send(msg []byte) error {
	for {
		_, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDSEND, uintptr(q), uintptr(unsafe.Pointer(&msg[0])), uintptr(len(msg)),
			0, 0, 0)
		if errno != unix.EINTR {
			return named("mq_send", errno)
		}
	}
}

func (q mqLink) Recv(buf []byte) (int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDRECEIVE, uintptr(q), uintptr(unsafe.Pointer(&buf[0])),
			uintptr(len(buf)), 0, 0, 0)
		if errno != unix.EINTR {
			return int(n), named("mq_receive", errno)
		}
	}
}

func (q mqLink) Close() error { return unix.Close(int(q)) }

func named(call string, errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", call, errno)
}

// MQAttr is struct mq_attr.
type MQAttr struct {
	Flags, MaxMsg, MsgSize, CurMsgs int
	_                               [4]int
}

// NewMQ makes a POSIX message queue without a name, as a descriptor to inherit.
func NewMQ(name string, slots, size int) (int, error) {
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		return -1, err
	}
	attr := MQAttr{MaxMsg: slots, MsgSize: size}
	fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(path)),
		unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600, uintptr(unsafe.Pointer(&attr)), 0, 0)
	if errno != 0 {
		return -1, named("mq_open", errno)
	}
	unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(path)), 0, 0)
	return int(fd), nil
}

// sysvLink is a SysV message queue.
type sysvLink struct {
	id  int
	buf []byte // the type, which must not be 0, and the message
}

func openSysV(j *work.Job, direction string, sender bool) (work.Link, error) {
	l := &sysvLink{id: j.Queues[0], buf: make([]byte, 8+j.MaxSize())}
	if direction == "back" {
		l.id = j.Queues[1]
	}
	l.buf[0] = 1
	return l, nil
}

func (l *sysvLink) Send(msg []byte) error {
	n := copy(l.buf[8:], msg)
	for {
		_, _, errno := unix.Syscall6(unix.SYS_MSGSND, uintptr(l.id), uintptr(unsafe.Pointer(&l.buf[0])), uintptr(n), 0, 0, 0)
		if errno != unix.EINTR {
			return named("msgsnd", errno)
		}
	}
}

func (l *sysvLink) Recv(buf []byte) (int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_MSGRCV, uintptr(l.id), uintptr(unsafe.Pointer(&l.buf[0])),
			uintptr(len(l.buf)-8), 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		return copy(buf, l.buf[8:8+n]), named("msgrcv", errno)
	}
}

func (l *sysvLink) Close() error { return nil }

// NewSysV makes a SysV object: a message queue (get is SYS_MSGGET), or what args of
// SYS_SHMGET and SYS_SEMGET say.
func NewSysV(get uintptr, args ...uintptr) (int, error) {
	args = append(args, 0, 0)
	id, _, errno := unix.Syscall(get, unix.IPC_PRIVATE, args[0], args[1])
	return int(id), named("get", errno)
}

// SetSemaphores sets those of a SysV set in turn.
func SetSemaphores(id int, values ...int) error {
	const setVal = 16
	for i, v := range values {
		if _, _, errno := unix.Syscall6(unix.SYS_SEMCTL, uintptr(id), uintptr(i), setVal, uintptr(v), 0, 0); errno != 0 {
			return named("semctl", errno)
		}
	}
	return nil
}
