package shm

import (
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// settle grants the optional requests of opt for the mapped bytes, as far as they can be.
func settle(path string, mem []byte, opt *Options) (prefaulted, locked Outcome) {
	if opt.Prefault {
		prefaulted = prefault(mem)
	}
	if opt.Mlock {
		locked = lockPages(path, mem)
	}
	return prefaulted, locked
}

// prefault maps every page. MADV_POPULATE_WRITE (Linux 5.14) makes them writable at
// once and reports a missing page as an error; a load of each page does less, but
// everywhere.
func prefault(mem []byte) Outcome {
	err := uninterrupted(func() error { return sys.madvise(mem, unix.MADV_POPULATE_WRITE) })
	switch err {
	case nil:
		return Outcome{Asked: true, How: "MADV_POPULATE_WRITE"}
	case unix.EINVAL, unix.ENOSYS, unix.EPERM:
		return Outcome{Asked: true, How: "touch", Err: touchPages(mem)}
	default:
		return Outcome{Asked: true, How: "MADV_POPULATE_WRITE", Err: err}
	}
}

// touchPages turns the SIGBUS of a page that does not exist into ErrTruncated.
func touchPages(mem []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	at := 0
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%w: no page at offset %d", ErrTruncated, at)
		}
	}()
	for page := os.Getpagesize(); at < len(mem); at += page {
		touch(&mem[at])
	}
	return nil
}

func lockPages(path string, mem []byte) Outcome {
	err := uninterrupted(func() error { return sys.mlock(mem) })
	switch err {
	case unix.ENOMEM, unix.EPERM, unix.EAGAIN:
		err = &LimitError{
			Path:     path,
			Resource: "RLIMIT_MEMLOCK",
			Need:     uint64(len(mem)),
			Limit:    softLimit(unix.RLIMIT_MEMLOCK),
			Remedy:   "raise it (ulimit -l, LimitMEMLOCK= in a systemd unit, --ulimit memlock in docker) or grant CAP_IPC_LOCK",
			Err:      err,
		}
	}
	return Outcome{Asked: true, How: "mlock", Err: err}
}

// softLimit returns a limit of this process, or 0 where there is none or it cannot be told.
func softLimit(resource int) uint64 {
	var lim unix.Rlimit
	if err := unix.Getrlimit(resource, &lim); err != nil || lim.Cur == unix.RLIM_INFINITY {
		return 0
	}
	return lim.Cur
}
