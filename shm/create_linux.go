package shm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
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
	at, err := openPlace(path)
	if err != nil {
		return nil, createError(path, err)
	}
	defer at.close()
	// linkat decides; looking first spares the allocation when the answer is plain.
	if at.stat(new(unix.Stat_t)) == nil {
		return nil, fail("create", path, fs.ErrExist, "")
	}
	r := createRequest{name: name, at: &at, size: size, opt: opt, format: format}
	r.publish = func(f *file, u *unpublished) error { return f.publish(ctx, u, mode) }
	return r.try(ctx, tmpEnd)
}

// createRequest is what a caller of Create or Replace wants, checked.
type createRequest struct {
	name    string
	at      *place
	size    int64
	opt     *Options
	format  func(mem []byte, locks Locks) error
	publish func(f *file, u *unpublished) error
	sealed  bool // it is to have no name
}

// try makes the file without a name if that is to be had, else with a hidden one that has that
// end.
func (r *createRequest) try(ctx context.Context, end string) (*Segment, error) {
	s, err := r.make(ctx, openUnnamed)
	if err == errUseHiddenName {
		s, err = r.make(ctx, func(at *place) (*unpublished, error) { return openHidden(at, end) })
	}
	return s, err
}

// make goes through the steps of the package comment, in that order.
func (r *createRequest) make(ctx context.Context, open func(at *place) (*unpublished, error)) (_ *Segment,
	err error) {
	u, err := open(r.at) // 1
	if err != nil {
		return nil, err
	}
	killpoint.At(killpoint.UnpublishedOpened)
	f := &file{name: r.name, place: place{dir: -1}, fd: u.fd, opt: r.opt, sealed: r.sealed}
	published := false
	defer func() {
		if !published {
			f.discardLockDirectory()
			u.discard()
			f.forget()
		}
	}()
	if f.place, err = r.at.again(); err != nil {
		return nil, err
	}
	if err := f.chooseLocks(); err != nil {
		return nil, err
	}
	how := Applied{TmpFile: u.hidden == nil && !r.sealed}
	if err := preflight(u.fd, f.path, r.size); err != nil { // 2
		return nil, err
	}
	if how.Allocated, err = allocate(ctx, u.fd, f.path, r.size); err != nil { // 3
		return nil, err
	}
	if err := f.mapBytes(r.size); err != nil { // 4
		return nil, err
	}
	if how.Prefault, how.Mlock, err = prefaultAndLock(ctx, f.path, f.mem.bytes(), r.opt); err != nil {
		return nil, err
	}
	if r.format != nil {
		if err := r.format(f.mem.bytes(), f.locks); err != nil { // 5
			return nil, fail("format", f.path, err, "")
		}
	}
	f.fixed = slices.Clone(f.mem.bytes()[:min(int64(r.opt.Fixed), r.size)])
	killpoint.At(killpoint.UnpublishedFormatted)
	if err := r.publish(f, u); err != nil { // 6, 7, 8, 9
		return nil, err
	}
	published = true
	f.exact = countsBlocks(u.fd)
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
	at     *place // the name to come
	hidden *place // the temporary name, or nil for a file that has none
}

// errUseHiddenName: a file without a name cannot be made or published here.
var errUseHiddenName = errors.New("no O_TMPFILE")

// openUnnamed opens a file without a name, which vanishes with its descriptor.
func openUnnamed(at *place) (*unpublished, error) {
	fd, err := openFileAt(at.dir, ".", unix.O_TMPFILE|unix.O_RDWR, 0o600)
	switch err {
	case nil:
		return &unpublished{fd: fd, at: at}, nil
	case unix.EOPNOTSUPP, unix.EISDIR, unix.EINVAL, unix.ENOSYS:
		return nil, errUseHiddenName
	default:
		return nil, createError(at.path, err)
	}
}

// openHidden opens a file with a random name that ValidateName would refuse. It is
// readable by its owner only until publish.
func openHidden(at *place, end string) (*unpublished, error) {
	const attempts = 8
	var fd int
	var err error
	for range attempts {
		hidden := at.hidden(end)
		fd, err = hidden.open(unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_NOFOLLOW, 0o600)
		if err == nil {
			return &unpublished{fd: fd, at: at, hidden: hidden}, nil
		}
		if err != unix.EEXIST {
			break
		}
	}
	return nil, createError(at.path, err)
}

// tmpEnd ends the hidden name of a file that is to be created.
const tmpEnd = ".tmp"

// hidden is a new name beside this one that ValidateName would refuse.
func (p *place) hidden(end string) *place {
	return p.beside("." + strings.TrimSuffix(p.base, Suffix) + "." + randomHex() + end)
}

// hiddenName returns the name of the segment beside which hidden has made the name of a file.
func hiddenName(file, end string) (name string, is bool) {
	middle, ends := strings.CutSuffix(file, end)
	middle, begins := strings.CutPrefix(middle, ".")
	dot := strings.LastIndexByte(middle, '.')
	if !ends || !begins || dot < 0 || len(middle)-dot-1 != len(randomHex()) ||
		strings.Trim(middle[dot+1:], "0123456789abcdef") != "" {
		return "", false
	}
	return middle[:dot], true
}

// publish makes the finished file appear under its name, with us attached.
func (f *file) publish(ctx context.Context, u *unpublished, mode uint32) error {
	if g := f.opt.Group; g != 0 { // before it gets its permissions: they are for that group
		if err := unix.Fchown(u.fd, -1, g); err != nil {
			return fail("chown", u.at.path, err, "to group %d: we must be in it, or root", g)
		}
	}
	if err := sys.fchmod(u.fd, mode); err != nil {
		return fail("chmod", u.at.path, err, "to %#o", mode)
	}
	done, err := f.makeLockDirectory()
	if err != nil {
		return err
	}
	defer done()
	// Before the name appears: a file that can be found by Remove must already be
	// seen to be in use. Only a stranger who opened the hidden name can make us wait.
	if err := shareAttachLock(ctx, u.fd, u.at.path); err != nil {
		return err
	}
	killpoint.At(killpoint.UnpublishedLocked)
	name := u.linkUnnamed
	if u.hidden != nil {
		name = u.renameHidden
	}
	err = name()
	killpoint.At(killpoint.Published)
	return err
}

func (u *unpublished) linkUnnamed() error { return u.link(u.at) }

// link gives a name to a file that has none.
func (u *unpublished) link(to *place) error {
	err := sys.linkat(unix.AT_FDCWD, descriptorPath(u.fd), to.dir, to.base, unix.AT_SYMLINK_FOLLOW)
	switch err {
	case nil:
		return nil
	case unix.ENOENT, unix.EACCES, unix.EPERM, unix.EXDEV, unix.EOPNOTSUPP: // no /proc, or a policy against such links
		return errUseHiddenName
	default:
		return fail("create", u.at.path, err, "")
	}
}

// renameHidden prefers a rename that does not replace, because a crash between link
// and unlink would leave the file with two names, and Check waiting for both to go.
func (u *unpublished) renameHidden() error {
	from, to := u.hidden, u.at
	err := sys.renameat2(from.dir, from.base, to.dir, to.base, unix.RENAME_NOREPLACE)
	switch err {
	case unix.EINVAL, unix.ENOSYS, unix.EPERM, unix.EOPNOTSUPP:
		if err = sys.linkat(from.dir, from.base, to.dir, to.base, 0); err == nil {
			err = from.unlink()
		}
	}
	if err != nil {
		return fail("create", to.path, err, "from the temporary %s", from.path)
	}
	return nil
}

// discardLockDirectory leaves no directory for the locks of a file that was not published.
func (f *file) discardLockDirectory() {
	if f.lockDir != nil {
		_ = sys.unlinkat(f.dir, f.lockDir.base, unix.AT_REMOVEDIR)
	}
}

// discard leaves nothing of a file that was not published.
func (u *unpublished) discard() {
	if u.hidden != nil {
		_ = u.hidden.unlink()
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
