package shm

import (
	"context"
	"fmt"
	"io/fs"
	"os"

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
func Create(ctx context.Context, name string, size int64, opt *Options, format func(mem []byte, locks Locks) error) (*Segment, error) {
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
	o := order{name: name, path: path, size: size, mode: mode, opt: opt, format: format}
	s, err := o.make(ctx, draftUnnamed)
	if err == errUseHiddenName {
		s, err = o.make(ctx, draftHidden)
	}
	return s, err
}

// order is what a caller of Create wants, checked.
type order struct {
	name   string
	path   string
	size   int64
	mode   uint32
	opt    *Options
	format func(mem []byte, locks Locks) error
}

// make goes through the steps of the package comment, in that order.
func (o *order) make(ctx context.Context, open func(path string) (*draft, error)) (_ *Segment, err error) {
	d, err := open(o.path) // 1
	if err != nil {
		return nil, err
	}
	killpoint.At(killpoint.UnpublishedOpened)
	f := &file{name: o.name, path: o.path, fd: d.fd, opt: o.opt}
	published := false
	defer func() {
		if !published {
			d.discard()
			if f.mem.size != 0 {
				_ = f.mem.unmap()
			}
		}
	}()
	if err := f.chooseLocks(); err != nil {
		return nil, err
	}
	how := Applied{TmpFile: d.hidden == ""}
	if err := preflight(d.fd, o.path, o.size); err != nil { // 2
		return nil, err
	}
	if how.Allocated, err = allocate(ctx, d.fd, o.path, o.size); err != nil { // 3
		return nil, err
	}
	if err := f.mapBytes(o.size); err != nil { // 4
		return nil, err
	}
	how.Prefault, how.Mlock = settle(o.path, f.mem.bytes(), o.opt)
	if o.format != nil {
		if err := o.format(f.mem.bytes(), f.locks); err != nil { // 5
			return nil, fail("format", o.path, err, "")
		}
	}
	killpoint.At(killpoint.UnpublishedFormatted)
	if err := d.publish(ctx, o.mode); err != nil { // 6, 7, 8
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
