package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
)

// Entries that are no messages. Between the begin and the end of an incarnation its journal
// has the messages that were received in it.
const (
	entryOpening   uint32 = 1 << (iota + 8) // before Open; index: name, record: 1 for a consumer
	entryOpened                             // it returned nil; seq: half of the UUID, record: inode, index: participant
	entryRefused                            // it has returned an error; seq: pid of the holder it names
	entryClosing                            // Close is about to be called
	entryCreated                            // with entryOpened, what Info says
	entryTookOver                           // likewise
	entryRecovered                          // likewise
)

// incarnation is the time during which one process had one ring open, as far as that is
// certain: from after Open returned until before Close was called or the kill was sent.
type incarnation struct {
	pid      int
	name     uint32
	consumer bool
	opening  int64 // before Open was called
	from     int64 // 0: it did not succeed
	to       int64
	killed   bool // ended by its process's death
	refused  bool
	holder   int // whom the refusal names
	uuid     uint64
	inode    uint64
	slot     uint32
	says     uint32 // entryCreated and so on
	heard    []entry
}

// incarnations takes a journal apart. end is when the process's life was over: for one that
// was killed, when the kill was sent.
func incarnations(pid int, log []entry, end int64) []incarnation {
	var list []incarnation
	for _, e := range log {
		if e.flags&entryOpening != 0 {
			list = append(list, incarnation{pid: pid, name: e.index, consumer: e.record != 0, opening: e.at, to: end,
				killed: true})
			continue
		}
		t := &list[len(list)-1] // nothing is written before an opening
		switch {
		case e.flags&entryOpened != 0:
			t.from, t.uuid, t.inode, t.slot, t.says = e.at, e.seq, e.record, e.index, e.flags
			t.to = max(t.to, t.from) // written after the kill was sent, before it struck
		case e.flags&entryRefused != 0:
			t.to, t.killed, t.refused, t.holder = e.at, false, true, int(e.seq)
		case e.flags&entryClosing != 0:
			t.to, t.killed = min(e.at, end), false
		default:
			t.heard = append(t.heard, e)
		}
	}
	return list
}

// all takes everything out of the journal.
func (j *journal) all() []entry {
	var list []entry
	j.drain(func(e entry) { list = append(list, e) })
	return list
}

// heard reports whether a message of that lane is in the journal.
func (j *journal) heard(lane uint32) bool {
	for n, end := j.Get(drained), j.Get(count); n < end; n++ {
		if j.log[n%journalEntries].source.lane == lane {
			return true
		}
	}
	return false
}

func (j *journal) opening(name int, consumer bool) {
	e := entry{at: monotonic(), index: uint32(name), flags: entryOpening}
	if consumer {
		e.record = 1
	}
	j.add(e)
}

func (j *journal) opened(info shmring.Info, inode uint64) {
	e := entry{at: monotonic(), seq: binary.LittleEndian.Uint64(info.UUID[:]), record: inode,
		index: uint32(info.Participant), flags: entryOpened}
	for flag, set := range map[uint32]bool{entryCreated: info.Created, entryTookOver: info.TookOver,
		entryRecovered: info.Recovered} {
		if set {
			e.flags |= flag
		}
	}
	j.add(e)
}

func (j *journal) refused(holder int) {
	j.add(entry{at: monotonic(), seq: uint64(holder), flags: entryRefused})
}

func (j *journal) closing() { j.add(entry{at: monotonic(), flags: entryClosing}) }

// inodeOf is which file a name means: of a ring that is open, always the same.
func inodeOf(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Ino, nil
}

// holdings are incarnations that did succeed, in the order of their begin.
func holdings(list []incarnation, keep func(*incarnation) bool) []incarnation {
	var some []incarnation
	for _, t := range list {
		if t.from != 0 && keep(&t) {
			some = append(some, t)
		}
	}
	slices.SortFunc(some, func(a, b incarnation) int { return int(a.from - b.from) })
	return some
}

// oneRing finds two rings of one name at one time, and a ring in two files. list are
// the holdings of one name.
func (l *lab) oneRing(name string, list []incarnation) {
	files := map[uint64]uint64{}
	var last *incarnation // of those so far the one that ended last
	for i := range list {
		t := &list[i]
		if was, known := files[t.uuid]; known && was != t.inode {
			l.fault(&l.r.Split, "%s: ring %x was seen in the files %d and %d", name, t.uuid, was, t.inode)
		}
		files[t.uuid] = t.inode
		if last != nil && last.to > t.from && last.uuid != t.uuid {
			l.fault(&l.r.Split, "%s: %v while %v", name, t, last)
		}
		if last == nil || t.to > last.to {
			last = t
		}
	}
}

// fewHolders finds more holders of a role at one time than there is room for.
func (l *lab) fewHolders(role string, list []incarnation, room int) {
	var now []*incarnation
	for i := range list {
		t := &list[i]
		now = slices.DeleteFunc(now, func(o *incarnation) bool { return o.to <= t.from })
		if now = append(now, t); len(now) > room {
			l.fault(&l.r.Split, "%d holders of the role %s at one time, there is room for %d: %v and %v", len(now), role, room,
				t, now[0])
		}
	}
}

func (t *incarnation) String() string {
	end := "closed"
	if t.killed {
		end = "killed"
	}
	return fmt.Sprintf("pid %d had ring %x from %d to %d (%s)", t.pid, t.uuid, t.from, t.to, end)
}

// covers reports whether t was there during all of a time.
func (t *incarnation) covers(from, to int64) bool { return t.from != 0 && t.from <= from && t.to >= to }
