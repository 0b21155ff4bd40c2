package shmnet

import (
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"slices"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/internal/handover"
)

// Defaults of [Config].
const (
	DefaultBuffer    = 256 << 10
	DefaultMaxBuffer = 16 << 20
	DefaultBacklog   = 128
	DefaultTimeout   = 10 * time.Second
)

// Wait is how calls of a connection wait.
type Wait int

const (
	// WaitAdaptive busy-waits for some microseconds while that pays and the process has nothing
	// better to do, then sleeps.
	WaitAdaptive Wait = iota
	// WaitSleep sleeps at once.
	WaitSleep
)

// Config of [Listen] and [Dial]. The zero value and nil are good defaults. The same Config may be
// used for many calls.
type Config struct {
	// Buffer is how many bytes may be under way in each direction of a connection that is
	// accepted: 4 KiB to 1 GiB, rounded up to a power of two. Writes of few bytes take 512 of
	// them each. Zero: DefaultBuffer. A connection takes about twice as much memory, which is
	// allocated when it is made.
	Buffer int
	// MaxBuffer is the largest Buffer that a dialer accepts. Zero: DefaultMaxBuffer.
	MaxBuffer int
	// AllowUIDs and AllowGIDs say who may be at the other end: the peer's effective user is
	// among the first, or its group among the second, as the kernel noted them when the peer
	// connected or began to listen (SO_PEERCRED). If both are empty, whoever runs as our own
	// effective user, or as root, may.
	AllowUIDs, AllowGIDs []int
	// Timeout bounds the making of a connection, however slowly the peer speaks. Zero:
	// DefaultTimeout.
	Timeout time.Duration
	// Backlog is how many connections a listener makes, and keeps until they are accepted, at one
	// time; others wait to be connected. Zero: DefaultBacklog.
	Backlog int
	// MaxConns is how many connections of a listener are open at one time, those of the backlog
	// included; others wait to be connected. Zero: as many as the system allows.
	MaxConns int
	// Perm are the permission bits of the listener's socket; zero: 0600. Who may write it can
	// connect, and is then judged by AllowUIDs and AllowGIDs.
	Perm fs.FileMode
	// Wait tells how calls wait.
	Wait Wait
}

const (
	// slotSize is that of a connection's rings: small writes take a slot each.
	slotSize = 512
	minSlots = 8
	// chunkShare is which part of a ring a message takes at most: while one is written the one
	// before is read.
	chunkShare = 8
	mostChunk  = 64 << 10
	minBuffer  = minSlots * slotSize
	maxBuffer  = 1 << 30
)

// resolve returns a checked Config in which nothing is zero that has a default, and checks the path that it is for.
func (c *Config) resolve(path string) (Config, error) {
	var r Config
	if c != nil {
		r = *c
	}
	for _, rule := range []struct {
		option string
		ok     bool
		got    any
		want   string
	}{
		{"Buffer", r.Buffer == 0 || r.Buffer >= minBuffer && r.Buffer <= maxBuffer, r.Buffer, "0 or 4 KiB to 1 GiB"},
		{"MaxBuffer", r.MaxBuffer >= 0, r.MaxBuffer, "0 or more"},
		{"Timeout", r.Timeout >= 0, r.Timeout, "0 or more"},
		{"Backlog", r.Backlog >= 0, r.Backlog, "0 or more"},
		{"MaxConns", r.MaxConns >= 0, r.MaxConns, "0 or more"},
		{"Perm", r.Perm&^fs.ModePerm == 0, r.Perm, "permission bits only, up to 0777"},
		{"Wait", r.Wait == WaitAdaptive || r.Wait == WaitSleep, int(r.Wait), "WaitAdaptive or WaitSleep"},
	} {
		if !rule.ok {
			return r, &shmring.OptionError{Option: "shmnet.Config." + rule.option, Got: fmt.Sprint(rule.got), Want: rule.want}
		}
	}
	or(&r.Buffer, DefaultBuffer)
	or(&r.MaxBuffer, DefaultMaxBuffer)
	or(&r.Timeout, DefaultTimeout)
	or(&r.Backlog, DefaultBacklog)
	or(&r.Perm, 0o600)
	return r, checkPath(path)
}

// checkPath looks whether a path can be the address of a Unix socket (sun_path in unix(7)).
func checkPath(path string) error {
	const most = 107
	if len(path) >= 1 && len(path) <= most {
		return nil
	}
	return &shmring.OptionError{
		Option: "the path of a connection", Got: fmt.Sprintf("%d bytes long", len(path)),
		Want: fmt.Sprintf("1 to %d, which is what the address of a Unix socket takes", most),
	}
}

func or[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// ring returns the options of each ring of a connection.
func (c *Config) ring() *shmring.Options {
	slots := max(minSlots, 1<<bits.Len(uint((c.Buffer-1)/slotSize)))
	return &shmring.Options{
		Kind: shmring.KindSPSC, Slots: slots, SlotSize: slotSize,
		MaxMessage: max(slotSize, min(mostChunk, slots*slotSize/chunkShare)),
		// Nobody sleeps by it, or as the ring would.
		Doorbell: shmring.DoorbellPoll, WaitPolicy: shmring.WaitSleep,
	}
}

// allows looks whether a peer may be there.
func (c *Config) allows(peer handover.Credentials) error {
	uids, gids := c.AllowUIDs, c.AllowGIDs
	if len(uids) == 0 && len(gids) == 0 {
		uids = slices.Compact([]int{os.Geteuid(), 0})
	}
	if slices.Contains(uids, peer.UID) || slices.Contains(gids, peer.GID) {
		return nil
	}
	return &shmring.CredentialsError{UID: peer.UID, GID: peer.GID, AllowUIDs: uids, AllowGIDs: gids}
}
