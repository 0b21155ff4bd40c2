package main

import (
	"crypto/sha256"
	"encoding/binary"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// of linux/sem.h and linux/ipc.h
const (
	ipcRemove   = 0
	ipcCreate   = 0o1000
	ipcExcl     = 0o2000
	semSetValue = 16
)

// foreign are the sets of semaphores that the attacker has made.
var foreign = map[uintptr]bool{}

func removeForeign() {
	for id := range foreign {
		_, _, _ = unix.Syscall6(unix.SYS_SEMCTL, id, 0, ipcRemove, 0, 0, 0)
		delete(foreign, id)
	}
}

// ring is what the keys of a ring's semaphores are made of.
type ring struct {
	uuid  [16]byte
	inode uint64
}

func (t *target) ring() ring { return ring{[16]byte(t.head[uuidAt:]), t.stat.Ino} }

// loses notes that a ring is out of its users' reach that is at this path by now.
func (t *target) loses(path string) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	gone := target{fd: fd}
	if gone.look() {
		t.lost[gone.ring()] = true
	}
}

// forged notes what a ring is by a header that the attacker has put there: who opens it then makes a set
// of semaphores for that one.
func (t *target) forged(head []byte) {
	if r := (ring{[16]byte(head[uuidAt:]), t.stat.Ino}); r != t.ring() {
		t.lost[r] = true
	}
}

// keys are those that a ring's set may have: who may read its header knows them.
func (r ring) keys() (keys [8]uint32) {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64(r.uuid[:], r.inode))
	for i := range keys {
		keys[i] = binary.LittleEndian.Uint32(sum[4*i:]) | 1
	}
	return keys
}

// removeSets removes what there is of a ring's sets, and tells how many that were.
func (r ring) removeSets() (n int) {
	for _, key := range r.keys() {
		id, _, e := unix.Syscall(unix.SYS_SEMGET, uintptr(key), 0, 0)
		if e != 0 {
			continue
		}
		if _, _, e := unix.Syscall6(unix.SYS_SEMCTL, id, 0, ipcRemove, 0, 0, 0); e == 0 {
			n++
		}
	}
	return n
}

// takeNeighbour makes the ring say that the semaphores of the healthy one are its own: by their id and
// key, and now and then by the UUID.
func (t *target) takeNeighbour() {
	head := make([]byte, membersAt)
	fd, err := unix.Open(filepath.Join(t.Dir, healthy+shm.Suffix), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if n, err := unix.Pread(fd, head, 0); err != nil || n < len(head) {
		return
	}
	copy(t.mem[setAt:namespaceAt+8], head[setAt:namespaceAt+8])
	if t.chance.IntN(8) == 0 {
		copy(t.mem[uuidAt:uuidAt+16], head[uuidAt:uuidAt+16])
		seal(t.mem)
		t.forged(t.mem)
		t.lost[t.ring()] = true // who removes it now does not find its own
		t.pause(2 * time.Millisecond)
		copy(t.mem[:layout.FixedSize], t.head[:])
	}
}

// strikeSemaphores removes the ring's set, opens and shuts its doors, takes its keys, and writes into
// the words that tell of it.
func strikeSemaphores(t *target) {
	keys := t.ring().keys()
	key := uintptr(keys[t.chance.IntN(len(keys))])
	id, _, e := unix.Syscall(unix.SYS_SEMGET, key, 0, 0)
	switch what := t.chance.IntN(8); {
	case what == 0 && e == 0:
		_, _, _ = unix.Syscall6(unix.SYS_SEMCTL, id, 0, ipcRemove, 0, 0, 0)
		delete(foreign, id)
	case what < 4 && e == 0: // the last two semaphores, too, are what it is known by
		value := []uintptr{0, 1, 2, 32767}[t.chance.IntN(4)]
		_, _, _ = unix.Syscall6(unix.SYS_SEMCTL, id, uintptr(t.chance.IntN(130)), semSetValue, value, 0, 0)
	case what < 6 && e == unix.ENOENT:
		n := []uintptr{1, 129, 130, 131}[t.chance.IntN(4)]
		mode := []uintptr{0, 0o600, 0o666, 0o711}[t.chance.IntN(4)]
		if id, _, e := unix.Syscall(unix.SYS_SEMGET, key, n, ipcCreate|ipcExcl|mode); e == 0 {
			foreign[id] = true
		}
	case what == 6:
		t.put(setAt, t.edge(t.get(setAt), uint64(t.chance.IntN(1<<16))<<1|1))
		if t.chance.IntN(4) > 0 {
			t.takeNeighbour()
		}
	case what == 7:
		switch t.chance.IntN(4) {
		case 0:
			t.put(setAt, 0)
		case 1:
			t.put32(keyAt, t.chance.Uint64())
		case 2:
			t.put(namespaceAt, t.edge(t.get(namespaceAt), 0))
		case 3:
			t.put(namespaceAt, 0)
		}
	}
	if len(foreign) > 64 {
		removeForeign()
	}
	t.pause(100 * time.Microsecond)
}
