package shm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// seals are those that keep a segment's size, and themselves.
const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// writeSeals forbid what a segment needs: that all write into it.
const writeSeals = unix.F_SEAL_WRITE | unix.F_SEAL_FUTURE_WRITE

var errSealedLocks = errors.New("the locks of a sealed segment are on itself")

// CreateSealed makes a new segment of size bytes that has no name and is sealed: nobody, its
// creator and root included, can ever shorten or lengthen it. It is reached through descriptors
// only ([Segment.Share], [OpenSealed]), and is gone when nobody has one and nobody has it
// mapped; killing all its users leaves nothing. Holes can be punched into it still, which read
// as zeros; touching one raises SIGBUS only where the system has no page left (it promises
// none to a memfd: strict overcommit). The name is for people, and need not be its own. format
// is as that of [Create]; its locks are OFD. ctx ends the allocation.
//
// Errors: [*NameError], [*SpaceError], [*LimitError], fs.ErrInvalid (size), ErrUnsupported (no
// memfd, no OFD locks, or flock is insisted on), the error of format, of ctx, and otherwise an
// [*Error] with the cause.
func CreateSealed(ctx context.Context, name string, size int64, opt *Options, format func(mem []byte,
	locks Locks) error) (*Segment, error) {
	if err := ValidateName(name); err != nil {
		return nil, err
	}
	name = SealedPrefix + name
	if err := mappable(name, size); err != nil {
		return nil, err
	}
	r := createRequest{
		name: name, at: &place{dir: -1, path: name}, size: size, opt: opt.orDefault(), format: format, sealed: true,
		publish: func(_ *file, u *unpublished) error {
			if _, err := sys.seals(uintptr(u.fd), unix.F_ADD_SEALS, seals); err != nil {
				return fail("seal", name, err, "")
			}
			return nil
		},
	}
	return r.make(ctx, openMemory)
}

// openMemory opens a file in no directory. Whoever gets a descriptor of it, and nobody else, may
// open it anew: its permission bits keep nobody off, because another user who was given it needs
// an open file of his own.
func openMemory(at *place) (*unpublished, error) {
	const noExec = 0x8 // MFD_NOEXEC_SEAL, Linux 6.3: mode 0666, for good
	base := strings.TrimPrefix(at.path, SealedPrefix)
	fd, err := sys.memfd(base, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|noExec)
	if err == unix.EINVAL {
		fd, err = sys.memfd(base, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err == nil {
			err = sys.fchmod(fd, 0o666)
		}
	}
	switch err {
	case nil:
		return &unpublished{fd: fd, at: at}, nil
	case unix.ENOSYS, unix.EPERM, unix.EACCES:
		return nil, fail("create", at.path, fmt.Errorf("%w: memfd_create: %w", ErrUnsupported, err), "give a name instead")
	}
	return nil, createError(at.path, err)
}

// OpenSealed attaches to the sealed segment behind a descriptor, which stays the caller's and
// may be closed at once. The new handle has an open file of its own: what it locks cannot be
// unlocked by who sent the descriptor, or got it too. Nothing of the file is mapped before its
// type, its seals, its size, its blocks and, by opt.Judge, its first bytes were found right. Of
// the options Dir, Perm and AnyOwner do not matter: whoever gave the descriptor is to be
// trusted or not.
//
// Errors: ErrRefused (no memfd, or seals are missing or too many), ErrTruncated (shorter than
// minSize, or it has holes), those of opt.Judge, [*LimitError], ErrUnsupported (no /proc to open
// the file through, no OFD locks, or flock is insisted on), the error of ctx, and otherwise an
// [*Error] with the cause.
func OpenSealed(ctx context.Context, fd int, minSize int64, opt *Options) (_ *Segment, err error) {
	opt = opt.orDefault()
	name := SealedName(fd)
	if err := ctx.Err(); err != nil {
		return nil, fail("open", name, err, "")
	}
	// Before it is opened: opening a device or a FIFO does something.
	var given, st unix.Stat_t
	if err := judgeSealed(name, fd, &given); err != nil {
		return nil, err
	}
	own, err := openFile(descriptorPath(fd), unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, reopenError(name, fd, err)
	}
	f := &file{name: name, place: place{dir: -1, path: name}, fd: own, opt: opt, sealed: true}
	defer func() {
		if err != nil {
			f.forget()
			_ = sys.close(own)
		}
	}()
	if err := judgeSealed(name, own, &st); err != nil {
		return nil, err
	}
	if given.Dev != st.Dev || given.Ino != st.Ino {
		return nil, fail("open", name, ErrRefused, "%s leads to another file: is /proc mounted there?", descriptorPath(fd))
	}
	if err := f.judgeFixed(minSize, &st); err != nil {
		return nil, err
	}
	if err := f.chooseLocks(); err != nil {
		return nil, err
	}
	return f.mapAndAttach(ctx, st.Size)
}

// reopenError explains why a descriptor could not be opened anew. Locks belong to the open
// file, and that of the descriptor is its sender's too.
func reopenError(name string, fd int, err error) error {
	switch err {
	case unix.ENOENT, unix.ENOTDIR:
		return fail("open", name, fmt.Errorf("%w: %w", ErrUnsupported, err),
			"%s is not there: mount /proc; without it a process cannot have locks of its own on a file that it was given",
			descriptorPath(fd))
	case unix.EAGAIN:
		return fail("open", name, ErrRefused, "somebody holds a lease on it (F_SETLEASE)")
	case unix.EMFILE, unix.ENFILE:
		return fail("open", name, err, "raise RLIMIT_NOFILE (ulimit -n)")
	}
	return fail("open", name, err, "through %s", descriptorPath(fd))
}

// judgeSealed makes sure that a descriptor is of a file in memory that keeps its size.
func judgeSealed(name string, fd int, st *unix.Stat_t) error {
	if err := sys.fstat(fd, st); err != nil {
		return fail("stat", name, err, "")
	}
	if what := irregular(st); what != "" {
		return fail("open", name, ErrRefused, "it is %s, not a sealed memfd", what)
	}
	has, err := sys.seals(uintptr(fd), unix.F_GET_SEALS, 0)
	switch {
	case err == unix.EINVAL:
		return fail("open", name, ErrRefused, "it is a file on a disk, not a sealed memfd")
	case err != nil:
		return fail("open", name, err, "F_GET_SEALS")
	case has&seals != seals:
		return fail("open", name, ErrRefused, "its seals are %s, want %s: who made it, or somebody else, can still change "+
			"its size", sealNames(has), sealNames(seals))
	case has&writeSeals != 0:
		return fail("open", name, ErrRefused, "its seals are %s: nobody can write into it", sealNames(has))
	}
	return nil
}

// sealNames lists seals for people.
func sealNames(bits int) string {
	var list []string
	for _, s := range []struct {
		bit  int
		name string
	}{
		{unix.F_SEAL_SEAL, "seal"},
		{unix.F_SEAL_SHRINK, "shrink"},
		{unix.F_SEAL_GROW, "grow"},
		{unix.F_SEAL_WRITE, "write"},
		{unix.F_SEAL_FUTURE_WRITE, "future write"},
		{unix.F_SEAL_EXEC, "exec"},
	} {
		if bits&s.bit != 0 {
			list = append(list, s.name)
		}
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// SealedName returns "memfd:NAME" for a descriptor of a sealed segment, as its maker called it,
// and "memfd:?" where that is not a valid name, or the system does not tell.
func SealedName(fd int) string {
	link, _ := os.Readlink(descriptorPath(fd))
	name, is := strings.CutPrefix(strings.TrimSuffix(link, " (deleted)"), "/"+SealedPrefix)
	if !is || ValidateName(name) != nil {
		return SealedPrefix + "?"
	}
	return SealedPrefix + name
}

// Share returns a descriptor of a sealed segment for somebody else, who is to call
// [OpenSealed] on it. It is closed in children, and the caller's. It shares the open file of
// this handle, and so must not be given away of a handle that has life locks: whoever has it
// could unlock them. Errors: ErrUnsupported (the segment is not sealed), ErrHeld (this handle
// has a lock), fs.ErrClosed.
func (s *Segment) Share() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.back.(*file)
	switch {
	case s.closed:
		return -1, s.fail("give away", os.ErrClosed)
	case !ok || !f.sealed:
		return -1, s.fail("give away", fmt.Errorf("%w: it is not sealed", ErrUnsupported))
	case len(s.owned) > 0:
		return -1, s.fail("give away", ErrHeld)
	}
	fd, err := unix.FcntlInt(uintptr(f.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, s.fail("give away", err)
	}
	return fd, nil
}
