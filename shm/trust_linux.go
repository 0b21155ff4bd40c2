package shm

import (
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// openError explains why an existing file could not be opened.
func openError(op, path string, err error) error {
	var st unix.Stat_t
	switch err {
	case unix.ELOOP, unix.EISDIR, unix.ENXIO, unix.ENODEV:
		switch is := sys.lstat(path, &st); {
		case is == nil && irregular(&st) != "":
			return fail(op, path, ErrRefused, "it is %s, not a regular file", irregular(&st))
		case is != unix.ELOOP: // else its directory is not to be found
			return fail(op, path, fmt.Errorf("%w: %w", ErrRefused, err), "it was not a regular file a moment ago")
		}
	case unix.EACCES, unix.EPERM:
		return fail(op, path, err, "%s", accessHint(path, unix.R_OK|unix.W_OK))
	case unix.EAGAIN:
		return fail(op, path, err, "somebody holds a lease on it (F_SETLEASE); try again")
	case unix.EMFILE, unix.ENFILE:
		return fail(op, path, err, "raise RLIMIT_NOFILE (ulimit -n)")
	}
	return fail(op, path, err, "")
}

// trusted refuses a file that somebody else could shorten under us.
func (o *Options) trusted(path string, st *unix.Stat_t) error {
	if o.AnyOwner {
		return nil
	}
	return trusted("open", path, int(st.Uid), fs.FileMode(st.Mode&0o7777))
}

func trusted(op, path string, uid int, mode fs.FileMode) error {
	if euid := unix.Geteuid(); uid != euid && uid != 0 {
		return fail(op, path, ErrRefused, "owned by uid %d, we are euid %d; set Options.AnyOwner to trust it", uid,
			euid)
	}
	if mode&0o002 != 0 {
		return fail(op, path, ErrRefused, "mode %#o lets everybody write; set Options.AnyOwner to trust it", uint32(mode))
	}
	return nil
}

// irregular names the kind of a file that is not a regular one.
func irregular(st *unix.Stat_t) string {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return ""
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	default:
		return "a device"
	}
}

// accessHint tells who may do what with path, and whom else to suspect if the
// permission bits alone would let us.
func accessHint(path string, want uint32) string {
	var st unix.Stat_t
	if err := sys.lstat(path, &st); err != nil {
		return fmt.Sprintf("we are euid %d and may not search its directory", unix.Geteuid())
	}
	hint := fmt.Sprintf("%s is owned by uid %d gid %d, mode %#o; we are euid %d egid %d",
		path, st.Uid, st.Gid, st.Mode&0o7777, unix.Geteuid(), unix.Getegid())
	if permitted(&st, want) {
		hint += "; the mode would allow it, so look at SELinux or AppArmor, a read-only mount, and fs.protected_regular " +
			"where the directory is sticky"
	}
	return hint
}

// permitted reports whether the permission bits grant want (R_OK, W_OK, X_OK) to us.
func permitted(st *unix.Stat_t, want uint32) bool {
	bits := st.Mode
	switch {
	case unix.Geteuid() == 0:
		return true
	case int(st.Uid) == unix.Geteuid():
		bits >>= 6
	case inGroup(int(st.Gid)):
		bits >>= 3
	}
	return bits&want == want
}

func inGroup(gid int) bool {
	groups, _ := os.Getgroups()
	return gid == unix.Getegid() || slices.Contains(groups, gid)
}
