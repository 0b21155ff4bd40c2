//go:build !linux

package shm

import "context"

// Create returns an [*Error] for which errors.Is(err, ErrUnsupported) holds: it needs Linux.
func Create(ctx context.Context, name string, size int64, opt *Options, format func(mem []byte,
	locks Locks) error) (*Segment, error) {
	return nil, unsupported("create", name, opt)
}

// Open returns an [*Error] for which errors.Is(err, ErrUnsupported) holds: it needs Linux.
func Open(ctx context.Context, name string, minSize int64, opt *Options) (*Segment, error) {
	return nil, unsupported("open", name, opt)
}

// CreateSealed returns an [*Error] for which errors.Is(err, ErrUnsupported) holds: it needs Linux.
func CreateSealed(ctx context.Context, name string, size int64, opt *Options, format func(mem []byte,
	locks Locks) error) (*Segment, error) {
	return nil, unsupported("create", name, opt)
}

// OpenSealed returns an [*Error] for which errors.Is(err, ErrUnsupported) holds: it needs Linux.
func OpenSealed(ctx context.Context, fd int, minSize int64, opt *Options) (*Segment, error) {
	return nil, fail("open", SealedName(fd), ErrUnsupported, "sealed segments need Linux")
}

// SealedName returns "memfd:?".
func SealedName(fd int) string { return SealedPrefix + "?" }

// Share returns an [*Error] for which errors.Is(err, ErrUnsupported) holds: it needs Linux.
func (s *Segment) Share() (int, error) { return -1, s.fail("give away", ErrUnsupported) }

// Look returns an [*Error] for which errors.Is(err, ErrUnsupported) holds: it needs Linux.
func (s *Segment) Look() (*Onlooker, error) { return nil, s.fail("look at", ErrUnsupported) }

// OnAppear returns an [*Error] for which errors.Is(err, ErrUnsupported) holds: it needs Linux.
func OnAppear(name string, opt *Options, f func()) (stop func(), err error) {
	return nil, unsupported("watch for", name, opt)
}

// Remove returns an [*Error] for which errors.Is(err, ErrUnsupported) holds: it needs Linux.
func Remove(ctx context.Context, name string, opt *Options) error {
	return unsupported("remove", name, opt)
}

// RemoveWith returns an [*Error] for which errors.Is(err, ErrUnsupported) holds: it needs Linux.
func RemoveWith(ctx context.Context, name string, opt *Options, n int, last func(head []byte, inode uint64,
	uid int) error) error {
	return unsupported("remove", name, opt)
}

func unsupported(op, name string, opt *Options) error {
	path, err := Path(name, opt)
	if err != nil {
		return err
	}
	return fail(op, path, ErrUnsupported, "segments in files need Linux; Heap works everywhere")
}
