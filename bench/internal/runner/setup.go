package runner

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/bench/internal/link"
	"github.com/shmring/shmring/bench/internal/work"
)

// fixture is what a transport needs that its workers cannot make for themselves.
type fixture struct {
	files []*os.File // ends to inherit: receiving and sending of "there", then of "back"
	undo  []func()
}

func (s *fixture) clear() {
	for _, f := range s.files {
		f.Close()
	}
	for _, f := range s.undo {
		f()
	}
}

var setups = map[string]func(s *fixture, j *work.Job, watch *Cleaner) error{
	"":          func(*fixture, *work.Job, *Cleaner) error { return nil },
	"prefix":    prefix,
	"pipe":      pipes,
	"fifo":      fifos,
	"unix":      sockets(unix.SOCK_STREAM),
	"seqpacket": sockets(unix.SOCK_SEQPACKET),
	"tcp":       tcp,
	"mq":        posixQueues,
	"sysv-mq":   sysvQueues,
	"sysv-shm":  sysvSegment,
}

// prefix is for those who make files in /dev/shm itself, with our directory's name in
// front.
func prefix(s *fixture, j *work.Job, watch *Cleaner) error {
	p := shmPrefix(j.Dir)
	watch.Tell("prefix", p)
	s.undo = append(s.undo, func() { removePrefix(p) })
	return nil
}

func shmPrefix(dir string) string { return filepath.Join("/dev/shm", filepath.Base(dir)) + "." }

func pipes(s *fixture, _ *work.Job, _ *Cleaner) error {
	for range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		s.files = append(s.files, r, w)
	}
	return nil
}

func fifos(s *fixture, j *work.Job, _ *Cleaner) error {
	for i := range 2 {
		path := filepath.Join(j.Dir, fmt.Sprintf("fifo%d", i))
		if err := unix.Mkfifo(path, 0o600); err != nil {
			return err
		}
		// Open for both, so that neither of the others waits for its peer.
		both, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer both.Close()
		for _, flag := range []int{os.O_RDONLY, os.O_WRONLY} {
			f, err := os.OpenFile(path, flag, 0)
			if err != nil {
				return err
			}
			s.files = append(s.files, f)
		}
	}
	return nil
}

// duplex makes four ends of a connection that goes both ways.
func (s *fixture) duplex(a, b *os.File) { s.files = append(s.files, a, b, b, a) }

func sockets(kind int) func(*fixture, *work.Job, *Cleaner) error {
	return func(s *fixture, _ *work.Job, _ *Cleaner) error {
		fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		s.duplex(os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b"))
		return nil
	}
}

func tcp(s *fixture, _ *work.Job, _ *Cleaner) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	defer dialed.Close()
	accepted, err := l.Accept()
	if err != nil {
		return err
	}
	defer accepted.Close()
	a, err := accepted.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	b, err := dialed.(*net.TCPConn).File()
	if err != nil {
		a.Close()
		return err
	}
	s.duplex(a, b)
	return nil
}

func posixQueues(s *fixture, j *work.Job, _ *Cleaner) error {
	for i := range 2 {
		fd, err := link.NewMQ(fmt.Sprintf("%s-%d", filepath.Base(j.Dir), i), 10, j.MaxSize())
		if err != nil {
			return err
		}
		end := os.NewFile(uintptr(fd), "mq")
		s.files = append(s.files, end, end)
	}
	return nil
}

func sysvQueues(s *fixture, j *work.Job, watch *Cleaner) error {
	for range 2 {
		id, err := link.NewSysV(unix.SYS_MSGGET, 0o600)
		if err != nil {
			return err
		}
		s.sysv(watch, "msg", id)
		j.Queues = append(j.Queues, id)
	}
	return nil
}

func sysvSegment(s *fixture, j *work.Job, watch *Cleaner) error {
	slots := link.Slots(j.MaxSize())
	const words = 64 // before the slots of a direction, and the length in each
	size := 2 * (words + slots*(j.MaxSize()+words))
	id, err := link.NewSysV(unix.SYS_SHMGET, uintptr(size), 0o600)
	if err != nil {
		return err
	}
	s.sysv(watch, "shm", id)
	j.Shm = id
	if id, err = link.NewSysV(unix.SYS_SEMGET, 6, 0o600); err != nil {
		return err
	}
	s.sysv(watch, "sem", id)
	j.Sem = id
	return link.SetSemaphores(id, slots, 0, 1, slots, 0, 1)
}

func (s *fixture) sysv(watch *Cleaner, kind string, id int) {
	watch.Tell(kind, fmt.Sprint(id))
	s.undo = append(s.undo, func() { removeSysV(kind, id) })
}
