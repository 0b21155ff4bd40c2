package main

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// Where words are, as docs/LAYOUT.md has them: the attacker goes by the paper, not by the library.
const (
	kindAt         = 20
	uuidAt         = 24
	sizeAt         = 40
	checksumAt     = 56
	slotsAt        = 64
	slotSizeAt     = 72
	participantsAt = 76
	descriptorsAt  = 112
	payloadAt      = 120
	tailAt         = 128
	writtenAt      = 136
	readPosAt      = 256
	waypointsAt    = 264
	dataBellAt     = 384
	spaceBellAt    = 512
	priorityAt     = 520
	setAt          = 640
	keyAt          = 648
	namespaceAt    = 656
	newsAt         = 664
	eventsAt       = 672
	membersAt      = 768
	memberSize     = 512
	descriptorSize = 64
)

// place is where the rings are that are attacked: of those with names, and the link to the sealed one.
type place struct {
	Dir    string
	Name   string // of the ring's file, or empty: the victim's
	Sealed string // a link to the victim's descriptor, or empty
}

func (p place) path() string { return filepath.Join(p.Dir, cmp.Or(p.Name, attacked+shm.Suffix)) }

// target is one ring that is attacked. mem is nil for those who do not write into it, and the rest
// is what its header said when it was found.
type target struct {
	place
	chance *rand.Rand
	fd     int
	file   string // by which it was found
	stat   unix.Stat_t
	head   [layout.FixedSize]byte
	mem    []byte
	view   *layout.View

	kind     layout.Kind
	slots    uint64
	slotSize uint64
	members  int
	desc     uint64
	payload  uint64

	past    []written     // of mode replay
	epoch   uint32        // of mode fates: of the newest stream
	others  [][]byte      // of mode swap: headers
	lost    map[ring]bool // rings that nobody can reach any more
	refused int           // what the system did not permit
	allowed int           // and what it did though it must not
}

var native = binary.NativeEndian

// find opens the ring that is there at present, and maps it if its bytes are what is attacked.
func find(p place, chance *rand.Rand, mapped bool) *target {
	for _, file := range []string{p.path(), p.Sealed} {
		t := &target{place: p, chance: chance, file: file}
		how := unix.O_NOFOLLOW // it may be the attacker's own, to the healthy ring
		if file == p.Sealed {
			how = 0
		}
		var err error
		if t.fd, err = unix.Open(file, how|unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); file == "" || err != nil {
			continue
		}
		if t.look() && (!mapped || t.mapAll()) {
			return t
		}
		t.close()
	}
	return nil
}

// look reads the header. False: it is none, or no ring of the victim's.
func (t *target) look() bool {
	// A second name is the attacker's own, of the healthy ring.
	if unix.Fstat(t.fd, &t.stat) != nil || t.stat.Nlink > 1 ||
		t.stat.Mode&unix.S_IFMT != unix.S_IFREG || t.stat.Size < membersAt {
		return false
	}
	// The link to a descriptor may have come to mean another file: that of a healthy ring has a name.
	if at, _ := os.Readlink(
		filepath.Join("/proc/self/fd", strconv.Itoa(t.fd)),
	); t.Sealed != "" && t.file == t.Sealed &&
		!strings.HasPrefix(at, "/memfd:") {
		return false
	}
	if n, err := unix.Pread(t.fd, t.head[:], 0); err != nil || n < len(t.head) {
		return false
	}
	h := t.head[:]
	t.kind = layout.Kind(native.Uint32(h[kindAt:]))
	t.slots, t.slotSize = native.Uint64(h[slotsAt:]), uint64(native.Uint32(h[slotSizeAt:]))
	t.members = int(native.Uint32(h[participantsAt:]))
	t.desc, t.payload = native.Uint64(h[descriptorsAt:]), native.Uint64(h[payloadAt:])
	size := uint64(t.stat.Size)
	return native.Uint64(h) == layout.Magic && native.Uint64(h[sizeAt:]) == size && size < 1<<30 &&
		t.slots > 0 && t.slots < 1<<20 && t.slotSize < 1<<20 && t.members > 1 && t.members < 256 && t.desc < size &&
		t.payload <= size && t.desc+t.slots*descriptorSize <= size && t.payload+t.slots*t.slotSize <= size &&
		membersAt+uint64(t.members)*memberSize <= t.desc
}

func (t *target) mapAll() bool {
	var err error
	t.mem, err = unix.Mmap(t.fd, 0, int(t.stat.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return false
	}
	t.view, err = layout.ViewOf(t.head[:], t.mem)
	return err == nil
}

// isThere reports whether the name still means this ring.
func (t *target) isThere() bool {
	var st unix.Stat_t
	return unix.Stat(t.file, &st) == nil && st.Ino == t.stat.Ino && st.Dev == t.stat.Dev
}

func (t *target) close() {
	if t.mem != nil {
		_ = unix.Munmap(t.mem)
	}
	_ = unix.Close(t.fd)
}

// pause waits for a moment, of up to so long.
func (t *target) pause(most time.Duration) { time.Sleep(time.Duration(t.chance.Int64N(int64(most)))) }

func (t *target) get(at uint64) uint64      { return native.Uint64(t.mem[at:]) }
func (t *target) put(at, v uint64)          { native.PutUint64(t.mem[at:], v) }
func (t *target) get32(at uint64) uint64    { return uint64(native.Uint32(t.mem[at:])) }
func (t *target) put32(at uint64, v uint64) { native.PutUint32(t.mem[at:], uint32(v)) }

// positions are where the consumer is, and where the newest claim of an MPSC ring ends.
func (t *target) positions() (read, tail uint64) {
	read = t.get(readPosAt)
	return read, layout.Tail(t.get(tailAt)).Pos(read)
}

// edge is a value that is wrong in one of several ways. near is one that is nearly right.
func (t *target) edge(old, near uint64) uint64 {
	switch t.chance.IntN(16) {
	case 0:
		return 0
	case 1:
		return ^uint64(0)
	case 2:
		return old + 1
	case 3:
		return old - 1
	case 4:
		return old ^ 1<<t.chance.IntN(64)
	case 5:
		return 1 << 63
	case 6:
		return t.chance.Uint64()
	case 7:
		return 1 << t.chance.IntN(64)
	}
	return near
}
