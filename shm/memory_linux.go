package shm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Old kernels give up a fallocate on tmpfs at any signal and undo what it did, so a
// program under a profiler might never finish a large one. Small chunks finish.
const (
	allocChunk    = 4 << 20
	allocChunkMin = 64 << 10
)

// preflight refuses a size that the file system of fd has no room for. It spares
// others a full file system while we find out by filling it.
func preflight(fd int, path string, size int64) error {
	free, limited := freeBytes(fd)
	if limited && free < uint64(size) {
		return &SpaceError{Dir: filepath.Dir(path), Need: uint64(size), Free: free, Err: unix.ENOSPC}
	}
	return nil
}

// freeBytes returns what we may still take from the file system of fd; limited is
// false if it has no limit of its own (tmpfs with size=0) or does not tell.
func freeBytes(fd int) (free uint64, limited bool) {
	var st unix.Statfs_t
	if err := uninterrupted(func() error { return sys.fstatfs(fd, &st) }); err != nil || st.Blocks == 0 {
		return 0, false
	}
	blocks := st.Bavail
	if unix.Geteuid() == 0 {
		blocks = st.Bfree
	}
	return blocks * uint64(st.Bsize), true
}

// allocate makes each of the first size bytes of fd exist, as zeros, and names the
// call that did it. After a failure the caller discards the file.
func allocate(ctx context.Context, fd int, path string, size int64) (how string, err error) {
	chunk, interrupts := int64(allocChunk), 0
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return "", fail("allocate", path, err, "")
		}
		n := min(chunk, size-off)
		switch err := sys.fallocate(fd, 0, off, n); err {
		case nil:
			off += n
			interrupts = 0
		case unix.EINTR:
			if interrupts++; interrupts == maxInterrupts {
				return "pwrite", writeZeros(ctx, fd, path, off, size)
			}
			chunk = max(chunk/2, allocChunkMin)
		case unix.EOPNOTSUPP, unix.ENOSYS, unix.EPERM:
			return "pwrite", writeZeros(ctx, fd, path, off, size)
		default:
			return "", allocError(fd, path, size, err)
		}
	}
	return "fallocate", nil
}

// writeZeros allocates the bytes from off to size by writing them. Where there is no
// room it gets a short write and then ENOSPC, not a signal.
func writeZeros(ctx context.Context, fd int, path string, off, size int64) error {
	zeros := make([]byte, min(size-off, 1<<20))
	for off < size {
		if err := ctx.Err(); err != nil {
			return fail("allocate", path, err, "")
		}
		var n int
		err := uninterrupted(func() (err error) {
			n, err = sys.pwrite(fd, zeros[:min(int64(len(zeros)), size-off)], off)
			return err
		})
		if err == nil && n == 0 {
			err = unix.EIO
		}
		if err != nil {
			return allocError(fd, path, size, err)
		}
		off += int64(n)
	}
	return nil
}

func allocError(fd int, path string, size int64, err error) error {
	switch err {
	case unix.ENOSPC, unix.EDQUOT:
		free, _ := freeBytes(fd)
		var st unix.Stat_t
		if sys.fstat(fd, &st) == nil {
			free += uint64(st.Blocks) * 512 // ours until the file is discarded
		}
		return &SpaceError{Dir: filepath.Dir(path), Need: uint64(size), Free: free, Err: err}
	case unix.EFBIG:
		limit := &LimitError{
			Path:     path,
			Resource: "largest file of the file system",
			Need:     uint64(size),
			Remedy:   "ask for less, or set Options.Dir or " + EnvDir + " to another directory",
			Err:      err,
		}
		if soft := softLimit(unix.RLIMIT_FSIZE); soft != 0 && soft < uint64(size) {
			limit.Resource, limit.Limit = "RLIMIT_FSIZE", soft
			limit.Remedy = "raise it (ulimit -f, LimitFSIZE= in a systemd unit) or ask for less"
		}
		return limit
	case unix.ENOMEM:
		return fail("allocate", path, err, "%s of memory for %s: raise the memory limit of the control group",
			formatBytes(uint64(size)), path)
	default:
		return fail("allocate", path, err, "")
	}
}

// prefaultAndLock grants the optional requests of opt for the mapped bytes, as far as they can
// be. The error is that of ctx: 64 GiB take half a minute.
func prefaultAndLock(ctx context.Context, path string, mem []byte, opt *Options) (prefaulted, locked Outcome,
	err error) {
	if opt.Prefault {
		prefaulted = prefault(ctx, mem)
	}
	if opt.Mlock {
		locked = lockPages(ctx, path, mem)
	}
	if ctx.Err() != nil && (opt.Prefault || opt.Mlock) {
		err = fail("prefault", path, ctx.Err(), "")
	}
	return prefaulted, locked, err
}

// prefaultPiece is how much is prefaulted or locked between two looks at the context.
const prefaultPiece = 4 << 20

// inPieces does something to one piece of the memory after the other, until ctx is done.
func inPieces(ctx context.Context, mem []byte, do func(at int, piece []byte) error) error {
	for at := 0; at < len(mem); at += prefaultPiece {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := do(at, mem[at:min(at+prefaultPiece, len(mem))]); err != nil {
			return err
		}
	}
	return nil
}

// prefault maps every page. MADV_POPULATE_WRITE (Linux 5.14) makes them writable at
// once and reports a missing page as an error; a load of each page does less, but
// everywhere.
func prefault(ctx context.Context, mem []byte) Outcome {
	err := inPieces(ctx, mem, func(_ int, piece []byte) error {
		return uninterrupted(func() error { return sys.madvise(piece, unix.MADV_POPULATE_WRITE) })
	})
	switch err {
	case unix.EINVAL, unix.ENOSYS, unix.EPERM:
		return Outcome{Asked: true, How: "touch", Err: inPieces(ctx, mem, touchPages)}
	default:
		return Outcome{Asked: true, How: "MADV_POPULATE_WRITE", Err: err}
	}
}

// touchPages turns the SIGBUS of a page that does not exist into ErrTruncated.
func touchPages(offset int, mem []byte) error {
	at := 0
	whole := guarded(mem, func() {
		for page := os.Getpagesize(); at < len(mem); at += page {
			touch(&mem[at])
		}
	})
	if !whole {
		return fmt.Errorf("%w: no page at offset %d", ErrTruncated, offset+at)
	}
	return nil
}

func lockPages(ctx context.Context, path string, mem []byte) Outcome {
	err := inPieces(ctx, mem, func(_ int, piece []byte) error {
		return uninterrupted(func() error { return sys.mlock(piece) })
	})
	if err != nil {
		_ = unix.Munlock(mem) // a part is of no use, and others have a need of the limit
	}
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
