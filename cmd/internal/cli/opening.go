package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/shm"
)

// StillOpening tells people what the opening of a ring in a role, which begins now, waits for:
// the ring, or whoever has the role. The caller closes it when the ring is open.
func (r *Ring) StillOpening(out *Out, role shmring.Role) *Still {
	s := NewStill(out, func() string { return r.whyClosed(role) })
	s.Begin()
	return s
}

// lookFor is how long one look at who has a role may take. It waits for nobody but who removes
// the ring or makes it anew at that moment.
const lookFor = time.Second

// whyClosed says what opening waits for, or nothing.
func (r *Ring) whyClosed(role shmring.Role) string {
	switch {
	case r.Unix == "":
	case role == shmring.RoleProducer:
		return fmt.Sprintf("waiting for a consumer at %s, or for a producer slot of its ring", r.Unix)
	default:
		return fmt.Sprintf("waiting for the role: there is a consumer already at %s", r.Unix)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookFor)
	defer cancel()
	o := &shmring.AdminOptions{Dir: r.Options.Dir, AnyOwner: r.Options.AnyOwner}
	peers, err := shmring.Peers(ctx, r.Name, o)
	if errors.Is(err, fs.ErrNotExist) {
		if r.creates(role) {
			return "" // it is at it
		}
		path, err := shm.Path(r.Name, &shm.Options{Dir: r.Options.Dir})
		if err != nil {
			return ""
		}
		return fmt.Sprintf("waiting for ring %q to be created in %s", r.Name, filepath.Dir(path))
	}
	if err != nil {
		return "" // opening tells
	}
	if !r.Options.WaitForRole {
		return ""
	}
	return whoHas(role, peers)
}

// creates reports whether opening makes a ring that is not there.
func (r *Ring) creates(role shmring.Role) bool {
	mode := r.Options.Mode
	return mode == shmring.ModeOpenOrCreate || mode == shmring.ModeDefault && role == shmring.RoleProducer
}

// mostPIDs is how many holders of a role are named.
const mostPIDs = 4

// whoHas names those who have a role.
func whoHas(role shmring.Role, peers []shmring.Peer) string {
	var pids []string
	for _, p := range peers {
		if p.Role == role && p.Alive {
			pids = append(pids, fmt.Sprint(p.PID))
		}
	}
	switch n := len(pids); {
	case n == 0 && role == shmring.RoleProducer:
		return "waiting for a producer slot: a consumer has to pass what their dead owners left"
	case n == 0:
		return ""
	case n == 1:
		return fmt.Sprintf("waiting for the role: there is a %s already (pid %s)", role, pids[0])
	case n > mostPIDs:
		return fmt.Sprintf("waiting for the role: there are %d %ss already (pids %s, …)", n, role,
			strings.Join(pids[:mostPIDs], ", "))
	default:
		return fmt.Sprintf("waiting for the role: there are %d %ss already (pids %s)", n, role, strings.Join(pids, ", "))
	}
}

// Untaken tells why a ring was not opened in time, if that is because another process has the
// role; else it returns err.
func Untaken(err error, limit time.Duration) error {
	busy, ok := errors.AsType[*shmring.BusyError](err)
	if !ok || !errors.Is(err, ErrTimeout) {
		return err
	}
	return fmt.Errorf("%w: waited %v for the role: %w", busy, limit, ErrTimeout)
}
