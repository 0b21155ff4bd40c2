package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/shmring/shmring"
)

// UnixHelp is the part of a help text that lists the flags for a ring without a name.
const UnixHelp = `  -unix PATH          instead of -ring: a ring without a name, in sealed memory, that the
                      consumer makes and hands over to producers, through a Unix
                      socket at PATH on which it listens; @NAME is an abstract one.
                      A producer whose consumer has gone ends (-no-consumer fail).
                      Nothing is left of it when both have been killed, but for a
                      socket, which the next consumer takes away
  -allow-uid UIDS     with -unix, who may be at the other end, as 1000,1001 (default:
                      the same user, and root)
`

// setUIDs reads the list of -allow-uid.
func (r *Ring) setUIDs(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		uid, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return fmt.Errorf("%q: want user numbers, as 1000,1001", text)
		}
		r.HandOver.AllowUIDs = append(r.HandOver.AllowUIDs, int(uid))
	}
	return nil
}

// checkUnix finds flags that do not go with those for a ring without a name.
func (r *Ring) checkUnix(f *Flags) error {
	if r.Unix == "" {
		if f.IsSet("allow-uid") {
			return Usagef("-allow-uid is about -unix: give -unix PATH too")
		}
		return nil
	}
	for _, name := range []string{"ring", "dir", "create", "perm", "group", "any-owner"} {
		if f.IsSet(name) {
			return Usagef("-%s is about rings with a name, and one of -unix has none", name)
		}
	}
	if r.Options.Doorbell == shmring.DoorbellSysV {
		return Usagef("-doorbell sysv leaves something behind, and a ring of -unix does not")
	}
	return nil
}

// Label is what the ring is called: its name, or where it is handed over.
func (r *Ring) Label() string {
	if r.Unix != "" {
		return r.Unix
	}
	return r.Name
}

// listenPause is how long Listen waits between two looks whether another consumer has left.
const listenPause = 100 * time.Millisecond

// Listen listens at r.Unix. A socket of a consumer that was killed it takes away. While
// another listens there it waits, with Options.WaitForRole, or returns shmring.ErrBusy.
func (r *Ring) Listen(ctx context.Context) (*net.UnixListener, error) {
	for {
		l, err := listen(r.Unix)
		switch {
		case err == nil && len(r.HandOver.AllowUIDs) > 0 && !strings.HasPrefix(r.Unix, "@"):
			// Others may connect; who gets the ring is what their credentials say.
			if err := os.Chmod(r.Unix, 0o666); err != nil {
				return nil, errors.Join(err, l.Close())
			}
			return l, nil
		case !errors.Is(err, syscall.EADDRINUSE):
			return l, err
		}
		err = fmt.Errorf("-unix: there is a consumer already at %s: %w", r.Unix, shmring.ErrBusy)
		if !r.Options.WaitForRole {
			return nil, err
		}
		select {
		case <-time.After(listenPause):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}

// socketAt is whether somebody listens at a path.
func socketAt(path string) (alive bool, err error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	switch {
	case err == nil:
		return true, conn.Close()
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return false, nil
	case errors.Is(err, syscall.EAGAIN):
		return true, nil // it has much to do
	}
	return true, err
}

// Serve hands the ring over to all who come, until stop.
func (r *Ring) Serve(ctx context.Context, s *shmring.Sealed, l *net.UnixListener, out *Out) (stop func()) {
	o := r.HandOver
	o.Role = shmring.RoleProducer
	o.Told = func(err error) {
		who, stranger := errors.AsType[*shmring.CredentialsError](err)
		switch {
		case err == nil || ctx.Err() != nil:
		case stranger:
			out.Notice("uid %d, gid %d did not get the ring: -allow-uid says who may", who.UID, who.GID)
		default:
			out.Notice("%v", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Serve(ctx, l, &o); err != nil && ctx.Err() == nil {
			out.Notice("%v", err)
		}
	}()
	return func() {
		cancel()
		<-ended
		_ = l.Close() // and the socket goes
		_ = s.Close()
	}
}

// Dial takes the ring that is handed over at r.Unix; it waits for somebody to listen there.
func (r *Ring) Dial(ctx context.Context) (*shmring.Sealed, error) {
	o := r.HandOver
	o.Role = shmring.RoleProducer
	return shmring.DialSealed(ctx, r.Unix, &o)
}
