package shm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/killpoint"
)

// draft is a file that does not have its name yet.
type draft struct {
	fd     int
	path   string // the name to come
	hidden string // the temporary name, or "" for a file that has none
}

// errUseHiddenName: a file without a name cannot be made or published here.
var errUseHiddenName = errors.New("no O_TMPFILE")

// draftUnnamed opens a file without a name, which vanishes with its descriptor.
func draftUnnamed(path string) (*draft, error) {
	fd, err := openFile(filepath.Dir(path), unix.O_TMPFILE|unix.O_RDWR, 0o600)
	switch err {
	case nil:
		return &draft{fd: fd, path: path}, nil
	case unix.EOPNOTSUPP, unix.EISDIR, unix.EINVAL, unix.ENOSYS:
		return nil, errUseHiddenName
	default:
		return nil, createError(path, err)
	}
}

// draftHidden opens a file with a random name that ValidateName would refuse. It is
// readable by its owner only until publish.
func draftHidden(path string) (*draft, error) {
	const attempts = 8
	dir, base := filepath.Split(path)
	var fd int
	var err error
	for range attempts {
		hidden := fmt.Sprintf("%s.%s.%s.tmp", dir, strings.TrimSuffix(base, Suffix), randomHex())
		fd, err = openFile(hidden, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_NOFOLLOW, 0o600)
		if err == nil {
			return &draft{fd: fd, path: path, hidden: hidden}, nil
		}
		if err != unix.EEXIST {
			break
		}
	}
	return nil, createError(path, err)
}

// publish makes the finished file appear under its name, with us attached.
func (d *draft) publish(ctx context.Context, mode uint32) error {
	if err := sys.fchmod(d.fd, mode); err != nil {
		return fail("chmod", d.path, err, "to %#o", mode)
	}
	// Before the name appears: a file that can be found by Remove must already be
	// seen to be in use. Only a stranger who opened the hidden name can make us wait.
	if err := shareAdmin(ctx, d.fd, d.path); err != nil {
		return err
	}
	killpoint.At(killpoint.UnpublishedLocked)
	name := d.linkUnnamed
	if d.hidden != "" {
		name = d.renameHidden
	}
	err := name()
	killpoint.At(killpoint.Published)
	return err
}

func (d *draft) linkUnnamed() error {
	err := sys.linkat(unix.AT_FDCWD, descriptorPath(d.fd), unix.AT_FDCWD, d.path, unix.AT_SYMLINK_FOLLOW)
	switch err {
	case nil:
		return nil
	case unix.ENOENT, unix.EACCES, unix.EPERM, unix.EXDEV, unix.EOPNOTSUPP: // no /proc, or a policy against such links
		return errUseHiddenName
	default:
		return fail("create", d.path, err, "")
	}
}

// renameHidden prefers a rename that does not replace, because a crash between link
// and unlink would leave the file with two names, and Check waiting for both to go.
func (d *draft) renameHidden() error {
	err := sys.renameat2(unix.AT_FDCWD, d.hidden, unix.AT_FDCWD, d.path, unix.RENAME_NOREPLACE)
	switch err {
	case unix.EINVAL, unix.ENOSYS, unix.EPERM, unix.EOPNOTSUPP:
		if err = sys.linkat(unix.AT_FDCWD, d.hidden, unix.AT_FDCWD, d.path, 0); err == nil {
			err = sys.unlink(d.hidden)
		}
	}
	if err != nil {
		return fail("create", d.path, err, "from the temporary %s", d.hidden)
	}
	return nil
}

// discard leaves nothing of a file that was not published.
func (d *draft) discard() {
	if d.hidden != "" {
		_ = sys.unlink(d.hidden)
	}
	_ = sys.close(d.fd)
}

// createError explains why a new file could not be opened.
func createError(path string, err error) error {
	dir := filepath.Dir(path)
	switch err {
	case unix.ENOENT, unix.ENOTDIR:
		return fail("create", path, err, "%s must be an existing directory; set Options.Dir or %s to another", dir, EnvDir)
	case unix.EACCES, unix.EPERM:
		return fail("create", path, err, "%s", accessHint(dir, unix.W_OK|unix.X_OK))
	case unix.ENOSPC, unix.EDQUOT:
		return fail("create", path, err, "%s has no room for one more file, whatever its size (df -i)", dir)
	case unix.EMFILE, unix.ENFILE:
		return fail("create", path, err, "raise RLIMIT_NOFILE (ulimit -n)")
	default:
		return fail("create", path, err, "")
	}
}

func randomHex() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
