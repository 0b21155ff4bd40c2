package shm

import (
	"context"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/killpoint"
)

// replace puts a new file in the place of this one, see [Segment.Replace].
func (f *file) replace(ctx context.Context, size int64, format func(mem []byte) error) error {
	if f.sealed {
		return fail("replace", f.path, ErrUnsupported, "it is sealed, and has no name that could mean another")
	}
	if !f.exclusive {
		panic("shm: Replace of a segment of which Alone has not said that it is")
	}
	var st unix.Stat_t
	if err := sys.fstat(f.fd, &st); err != nil {
		return fail("stat", f.path, err, "")
	}
	if err := f.stillOurs(); err != nil {
		return err
	}
	if err := mappable(f.path, size); err != nil {
		return err
	}
	f.sweepReplacements()
	opt := Options{Dir: f.opt.Dir, Locks: f.locks}
	r := createRequest{name: f.name, at: &f.place, size: size, opt: &opt}
	r.format = func(mem []byte, _ Locks) error { return format(mem) }
	r.publish = func(next *file, u *unpublished) error { return f.giveWay(next, u, &st) }
	s, err := r.try(ctx, replacementEnd)
	if err != nil {
		return err
	}
	if f.locks == Flock {
		// The lock files of a file that has no name are in nobody's way, and so is what fails here.
		_ = f.life.close()
		f.gated = false
		f.lockDirectory(st.Ino).dropLockDirectory(&st)
	}
	return s.Close()
}

// stillOurs makes sure that the name means this file.
func (f *file) stillOurs() error {
	err := f.named("replace", f.fd)
	if err == errReplaced {
		return fail("replace", f.path, ErrOrphaned, "close and open again")
	}
	return err
}

// giveWay gives the finished file u of next the name of this one, which nobody uses, and its
// owner and permission bits st. Whoever waits for our attach lock finds then that the name
// means another file, and opens that.
func (f *file) giveWay(next *file, u *unpublished, st *unix.Stat_t) error {
	var own unix.Stat_t
	if err := sys.fstat(u.fd, &own); err != nil {
		return fail("stat", f.path, err, "")
	}
	if own.Uid != st.Uid || own.Gid != st.Gid {
		if err := unix.Fchown(u.fd, int(st.Uid), int(st.Gid)); err != nil {
			return fail("replace", f.path, err, "it belongs to uid %d gid %d, we are euid %d egid %d: do it as that user",
				st.Uid, st.Gid, unix.Geteuid(), unix.Getegid())
		}
	}
	mode := st.Mode & 0o777
	if err := sys.fchmod(u.fd, mode); err != nil {
		return fail("chmod", f.path, err, "to %#o", mode)
	}
	done, err := next.makeLockDirectory()
	if err != nil {
		return err
	}
	defer done()
	if u.hidden == nil { // only a file with a name can take the place of another
		name := f.hidden(replacementEnd)
		if err := u.link(name); err != nil {
			return err
		}
		u.hidden = name
	}
	killpoint.At(killpoint.ReplacementNamed)
	if err := f.stillOurs(); err != nil {
		return err
	}
	if err := sys.renameat(u.hidden.dir, u.hidden.base, f.dir, f.base); err != nil {
		return fail("replace", f.path, err, "%s", accessHint(filepath.Dir(f.path), unix.W_OK|unix.X_OK))
	}
	killpoint.At(killpoint.Replaced)
	return nil
}

// replacementEnd ends the names of files that are to take the place of a segment. Who makes one
// holds that segment's attach lock exclusively, so such a file that somebody else finds who holds
// it was left by a process that was killed.
const replacementEnd = ".new"

// sweepReplacements unlinks what was left of replacements of the segment of that name, whose
// attach lock the caller holds exclusively. What cannot be unlinked stays, in nobody's way.
func (p *place) sweepReplacements() {
	names, err := p.names()
	if err != nil {
		return
	}
	for _, name := range names {
		if of, is := hiddenName(name, replacementEnd); is && of+Suffix == p.base {
			_ = p.beside(name).unlink()
		}
	}
}
