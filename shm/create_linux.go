package shm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/killpoint"
)

// Create makes a new segment of size bytes, 1 to [MaxSize], under a name that does
// not exist, and attaches to it. format gets the zeroed bytes of the whole file and
// fills them in, and learns which kind of life locks the segment has, for those who
// write that down; only when it has returned nil does the name appear. The slice is
// valid during the call. Where the first way to publish the file is refused, format
// is called again on fresh zeros. A nil format leaves zeros. If format panics,
// nothing is left behind.
//
// ctx ends the allocation of a large file; when format has run, it hardly ever matters.
//
// Of any number of concurrent calls for one name, in any number of processes,
// exactly one succeeds. Errors: fs.ErrExist (the name exists), [*NameError],
// [*SpaceError], [*LimitError], fs.ErrInvalid (size or Options.Perm),
// fs.ErrNotExist (the directory does not), the error of format, of ctx, and
// otherwise an [*Error] with the cause.
func Create(ctx context.Context, name string, size int64, opt *Options, format func(mem []byte,
	locks Locks) error) (*Segment, error) {
	opt = opt.orDefault()
	path, err := Path(name, opt)
	if err != nil {
		return nil, err
	}
	mode, err := opt.mode()
	if err != nil {
		return nil, fail("create", path, err, "")
	}
	if err := mappable(path, size); err != nil {
		return nil, err
	}
	// linkat decides; looking first spares the allocation when the answer is plain.
	if _, err := os.Lstat(path); err == nil {
		return nil, fail("create", path, fs.ErrExist, "")
	}
	r := createRequest{name: name, path: path, size: size, opt: opt, format: format}
	r.publish = func(u *unpublished) error { return u.publish(ctx, mode) }
	return r.try(ctx, hiddenName)
}

// createRequest is what a caller of Create or Replace wants, checked.
type createRequest struct {
	name    string
	path    string
	size    int64
	opt     *Options
	format  func(mem []byte, locks Locks) error
	publish func(u *unpublished) error
}

// try makes the file without a name if that is to be had, else with one of those that hidden
// returns.
func (r *createRequest) try(ctx context.Context, hidden func(path string) string) (*Segment, error) {
	s, err := r.make(ctx, openUnnamed)
	if err == errUseHiddenName {
		s, err = r.make(ctx, func(path string) (*unpublished, error) { return openHidden(path, hidden) })
	}
	return s, err
}

// make goes through the steps of the package comment, in that order.
func (r *createRequest) make(ctx context.Context, open func(path string) (*unpublished, error)) (_ *Segment,
	err error) {
	u, err := open(r.path) // 1
	if err != nil {
		return nil, err
	}
	killpoint.At(killpoint.UnpublishedOpened)
	f := &file{name: r.name, path: r.path, fd: u.fd, opt: r.opt}
	published := false
	defer func() {
		if !published {
			u.discard()
			if f.mem.size != 0 {
				_ = f.mem.unmap()
			}
		}
	}()
	if err := f.chooseLocks(); err != nil {
		return nil, err
	}
	how := Applied{TmpFile: u.hidden == ""}
	if err := preflight(u.fd, r.path, r.size); err != nil { // 2
		return nil, err
	}
	if how.Allocated, err = allocate(ctx, u.fd, r.path, r.size); err != nil { // 3
		return nil, err
	}
	if err := f.mapBytes(r.size); err != nil { // 4
		return nil, err
	}
	how.Prefault, how.Mlock = prefaultAndLock(r.path, f.mem.bytes(), r.opt)
	if r.format != nil {
		if err := r.format(f.mem.bytes(), f.locks); err != nil { // 5
			return nil, fail("format", r.path, err, "")
		}
	}
	killpoint.At(killpoint.UnpublishedFormatted)
	if err := r.publish(u); err != nil { // 6, 7, 8
		return nil, err
	}
	published = true
	return f.attach(how), nil
}

// mode returns the permission bits to give to a new file.
func (o *Options) mode() (uint32, error) {
	switch m := o.Perm; {
	case m == 0:
		return 0o600, nil
	case m&^0o777 != 0:
		return 0, fmt.Errorf("%w: Options.Perm %v has bits outside 0777", fs.ErrInvalid, m)
	case m&0o002 != 0:
		return 0, fmt.Errorf("%w: Options.Perm %#o lets everybody write; use a group and 0660", fs.ErrInvalid, uint32(m))
	default:
		return uint32(m), nil
	}
}

// unpublished is a file that does not have its name yet.
type unpublished struct {
	fd     int
	path   string // the name to come
	hidden string // the temporary name, or "" for a file that has none
}

// errUseHiddenName: a file without a name cannot be made or published here.
var errUseHiddenName = errors.New("no O_TMPFILE")

// openUnnamed opens a file without a name, which vanishes with its descriptor.
func openUnnamed(path string) (*unpublished, error) {
	fd, err := openFile(filepath.Dir(path), unix.O_TMPFILE|unix.O_RDWR, 0o600)
	switch err {
	case nil:
		return &unpublished{fd: fd, path: path}, nil
	case unix.EOPNOTSUPP, unix.EISDIR, unix.EINVAL, unix.ENOSYS:
		return nil, errUseHiddenName
	default:
		return nil, createError(path, err)
	}
}

// openHidden opens a file with a random name that ValidateName would refuse. It is
// readable by its owner only until publish.
func openHidden(path string, name func(path string) string) (*unpublished, error) {
	const attempts = 8
	var fd int
	var err error
	for range attempts {
		hidden := name(path)
		fd, err = openFile(hidden, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_NOFOLLOW, 0o600)
		if err == nil {
			return &unpublished{fd: fd, path: path, hidden: hidden}, nil
		}
		if err != unix.EEXIST {
			break
		}
	}
	return nil, createError(path, err)
}

// hiddenName is a name for a file that is to be created.
func hiddenName(path string) string { return hidden(path, randomHex()+".tmp") }

// hidden is a name beside path that ValidateName would refuse.
func hidden(path, end string) string {
	dir, base := filepath.Split(path)
	return dir + "." + strings.TrimSuffix(base, Suffix) + "." + end
}

// publish makes the finished file appear under its name, with us attached.
func (u *unpublished) publish(ctx context.Context, mode uint32) error {
	if err := sys.fchmod(u.fd, mode); err != nil {
		return fail("chmod", u.path, err, "to %#o", mode)
	}
	// Before the name appears: a file that can be found by Remove must already be
	// seen to be in use. Only a stranger who opened the hidden name can make us wait.
	if err := shareAttachLock(ctx, u.fd, u.path); err != nil {
		return err
	}
	killpoint.At(killpoint.UnpublishedLocked)
	name := u.linkUnnamed
	if u.hidden != "" {
		name = u.renameHidden
	}
	err := name()
	killpoint.At(killpoint.Published)
	return err
}

func (u *unpublished) linkUnnamed() error { return u.link(u.path) }

// link gives a name to a file that has none.
func (u *unpublished) link(path string) error {
	err := sys.linkat(unix.AT_FDCWD, descriptorPath(u.fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	switch err {
	case nil:
		return nil
	case unix.ENOENT, unix.EACCES, unix.EPERM, unix.EXDEV, unix.EOPNOTSUPP: // no /proc, or a policy against such links
		return errUseHiddenName
	default:
		return fail("create", u.path, err, "")
	}
}

// renameHidden prefers a rename that does not replace, because a crash between link
// and unlink would leave the file with two names, and Check waiting for both to go.
func (u *unpublished) renameHidden() error {
	err := sys.renameat2(unix.AT_FDCWD, u.hidden, unix.AT_FDCWD, u.path, unix.RENAME_NOREPLACE)
	switch err {
	case unix.EINVAL, unix.ENOSYS, unix.EPERM, unix.EOPNOTSUPP:
		if err = sys.linkat(unix.AT_FDCWD, u.hidden, unix.AT_FDCWD, u.path, 0); err == nil {
			err = sys.unlink(u.hidden)
		}
	}
	if err != nil {
		return fail("create", u.path, err, "from the temporary %s", u.hidden)
	}
	return nil
}

// discard leaves nothing of a file that was not published.
func (u *unpublished) discard() {
	if u.hidden != "" {
		_ = sys.unlink(u.hidden)
	}
	_ = sys.close(u.fd)
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
