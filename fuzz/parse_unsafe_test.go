package fuzz

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"runtime/metrics"
	"testing"
	"unsafe"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Offsets of the header, from the table in package layout.
const (
	atMagic = 0
	atMajor = 12
	atHead  = 16
	atKind  = 20
	atSize  = 40
	atSum   = 56
	atSlots = 64
	atSlot  = 72
	atParts = 76
	atMax   = 80
	atIncom = 88
	atBell  = 104
	atDesc  = 112
	atPay   = 120
)

func FuzzParse(f *testing.F) {
	for way := range byte(4) {
		for i := range 40 {
			f.Add(append([]byte{way}, randomBytes(uint64(i), 40)...))
		}
		for at := range byte(128) { // one byte wrong, wherever it may be
			f.Add([]byte{way, 1, 0, 0, 2, 0, at, 1})
		}
	}
	f.Fuzz(parse)
}

func TestParseRandom(t *testing.T) { random(t, 60, parse) }

// parse makes the bytes of a segment out of data in one of four ways.
func parse(t *testing.T, data []byte) {
	s := &script{data}
	var mem []byte
	switch s.below(4) {
	case 0: // bytes over the header of a good segment
		mem = good(t, s)
		copy(mem[s.below(768):], s.rest)
	case 1: // the same, with a checksum that is right
		mem = good(t, s)
		copy(mem[s.below(768):], s.rest)
		seal(mem)
	case 2: // a geometry from nowhere, all of it consistent
		mem = forge(t, s)
	default: // bytes from nowhere
		mem = memory(t, 1+s.below(1<<14))
		copy(mem, s.rest)
	}
	before := allocated()
	v, err := layout.Parse(mem)
	if n := allocated() - before; n > 1<<20 {
		t.Errorf("Parse allocated %d bytes", n)
	}
	want := legal(mem)
	if (err == nil) != want {
		t.Fatalf("Parse: %v, but a second reading of the header says that it is right: %v", err, want)
	}
	var fe *layout.FieldError
	switch {
	case err == nil:
		use(t, v, mem)
	case !errors.As(err, &fe) || fe.Field == "" || fe.Want == "":
		t.Fatalf("error without a field: %#v", err)
	case !errors.Is(err, layout.ErrFormat) && !errors.Is(err, layout.ErrVersion) && !errors.Is(err, layout.ErrCorrupt):
		t.Fatalf("error of no kind: %v", err)
	}
}

func good(t *testing.T, s *script) []byte {
	cfg := layout.Config{
		Kind: pick(s, layout.SPSC, layout.MPSC), Slots: pick(s, 8, 16), SlotSize: pick(s, 0, 64, 512),
		Participants: 2, MaxMessage: 48, Doorbell: layout.Futex,
	}
	size, err := cfg.Size()
	if err != nil {
		t.Fatal(err)
	}
	mem := memory(t, int(size))
	if _, err := layout.Format(mem, cfg); err != nil {
		t.Fatal(err)
	}
	return mem
}

var native = binary.NativeEndian

func seal(mem []byte) {
	native.PutUint32(mem[atSum:], sum(mem))
}

func sum(mem []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(mem[:56], table), table, mem[64:128])
}

// forge writes a header by hand: any geometry, with offsets that follow from it, in
// memory that is as large as it says or, where that is too much, as large as can be.
func forge(t *testing.T, s *script) []byte {
	slots := pick[uint64](s, 8, 16, 32, 4, 12, 0, 1<<30, 1<<31, 1<<63, uint64(s.byte()))
	slot := pick[uint32](s, 0, 64, 128, 1<<24, 1<<31, 63, 1<<24+64, uint32(s.byte())*64)
	parts := pick[uint32](s, 2, 3, 8, 255, 0, 1, 256, 1<<31, 1<<32-1)
	d := up(768 + 512*uint64(parts) + 128*40)
	p := up(d + 64*slots)
	size := up(p + slots*uint64(slot))
	most := max(48, min(slots, 4095)*uint64(slot))
	kind, most := pick(s, 1, 2, 2, 0, 3), pick(s, most, 0, most+1, 1<<63, 48)
	features := pick[uint64](s, 0, 0, 0, 2, 1)
	if kind == 1 {
		features ^= 2
		p = d
		size = up(p + area(slots, uint64(slot), most))
	}
	mem := memory(t, int(min(max(size, 4096), 1<<18)))
	native.PutUint64(mem[atMagic:], layout.Magic)
	native.PutUint32(mem[8:], layout.EndianOK)
	native.PutUint16(mem[atMajor:], layout.Major)
	native.PutUint32(mem[atHead:], uint32(d))
	native.PutUint32(mem[atKind:], uint32(kind))
	native.PutUint64(mem[atIncom:], features)
	native.PutUint64(mem[atSize:], size)
	native.PutUint64(mem[atSlots:], slots)
	native.PutUint32(mem[atSlot:], slot)
	native.PutUint32(mem[atParts:], parts)
	native.PutUint64(mem[atMax:], most)
	native.PutUint32(mem[atBell:], uint32(pick(s, 1, 2, 3, 4, 0, 5)))
	native.PutUint64(mem[atDesc:], d)
	native.PutUint64(mem[atPay:], p)
	seal(mem)
	return mem
}

// area is how long that of an SPSC ring is.
func area(slots, slot, most uint64) uint64 {
	n := uint64(64)
	for n < slots*max(slot, 64) || n < min(most, 1<<40)+80 {
		n *= 2
	}
	return n
}

func up(n uint64) uint64 { return (n + 4095) &^ 4095 }

// legal reads the header a second time, in the words of package layout's table.
func legal(mem []byte) bool {
	if len(mem) < 768 {
		return false
	}
	u32 := func(at int) uint64 { return uint64(native.Uint32(mem[at:])) }
	u64 := func(at int) uint64 { return native.Uint64(mem[at:]) }
	slots, slot, parts := u64(atSlots), u32(atSlot), u32(atParts)
	if u64(atMagic) != layout.Magic || u32(8) != uint64(layout.EndianOK) || native.Uint16(mem[atMajor:]) != layout.Major ||
		u64(atIncom)&^layout.KnownIncompat != 0 || u32(atSum) != uint64(sum(mem)) {
		return false
	}
	if k := u32(atKind); k != 1 && k != 2 {
		return false
	}
	if slots < 8 || slots > 1<<30 || slots&(slots-1) != 0 || slot > 1<<24 || slot%64 != 0 || parts < 2 || parts > 255 {
		return false
	}
	if b := u32(atBell); b < 1 || b > 3 || u32(atKind) == 1 && parts != 2 {
		return false
	}
	d := up(768 + 512*parts + 128*40)
	p := up(d + 64*slots)
	size := up(p + slots*slot)
	inLine := u64(atIncom)&2 != 0
	if inLine != (u32(atKind) == 1) {
		return false
	}
	if inLine {
		if u64(atMax) > max(48, min(slots, 4095)*slot) {
			return false
		}
		p = d
		if size = up(p + area(slots, slot, u64(atMax))); size > 1<<40 {
			return false
		}
	}
	return u64(atMax) <= max(48, min(slots, 4095)*slot) &&
		u32(atHead) == d && u64(atDesc) == d && u64(atPay) == p && u64(atSize) == size && uint64(len(mem)) == size
}

// use goes to the ends of a view, and moves messages through it whatever its hot
// words say.
func use(t *testing.T, v *layout.View, mem []byte) {
	c := v.Config
	descriptors, payload, inLine := c.Slots, c.Slots*c.SlotSize, 0
	if c.Kind == layout.SPSC {
		descriptors, payload, inLine = 0, 0, int(c.Area())
	}
	if len(v.Participants) != c.Participants || len(v.Descriptors) != descriptors || len(v.Payload) != payload ||
		len(v.Area) != inLine {
		t.Fatalf("view of %d members, %d descriptors, %d bytes of payload, %d of an area: %+v", len(v.Participants),
			len(v.Descriptors), len(v.Payload), len(v.Area), c)
	}
	inside := func(what string, p unsafe.Pointer, n uintptr) {
		at := uintptr(p) - uintptr(unsafe.Pointer(&mem[0]))
		if at+n > uintptr(len(mem)) {
			t.Fatalf("%s ends at %d of %d", what, at+n, len(mem))
		}
	}
	inside("hot", unsafe.Pointer(v.Hot), unsafe.Sizeof(*v.Hot))
	inside("the last member", unsafe.Pointer(&v.Participants[c.Participants-1]), 512)
	if descriptors > 0 {
		inside("the last descriptor", unsafe.Pointer(&v.Descriptors[c.Slots-1]), 64)
	}
	if inLine > 0 {
		inside("the last word", unsafe.Pointer(&v.Area[inLine-8]), 8)
	}
	if n := len(v.Payload); n > 0 {
		inside("the last byte", unsafe.Pointer(&v.Payload[n-1]), 1)
	}
	var table lockTable
	p, err := ring.NewProducer(v, ring.Config{Locks: table.process()})
	if err != nil && !documented(err) {
		t.Fatal(err)
	}
	cons, err := ring.NewConsumer(v, ring.Config{Locks: table.process()})
	if errors.Is(err, ring.ErrCorrupt) && c.Kind == layout.SPSC { // it compares hot words
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, c.MaxMessage)
	for range min(c.Slots, 64) + 3 {
		if p != nil {
			if err := p.TrySend(buf); !documented(err) {
				t.Fatal(err)
			}
			if _, err := p.TrySendBatch([][]byte{buf[:c.MaxMessage/2], nil}); !documented(err) {
				t.Fatal(err)
			}
		}
		if cons == nil {
			continue
		}
		if _, err := cons.TryReceive(buf); !documented(err) {
			t.Fatal(err)
		}
		if err := cons.Check(); !documented(err) {
			t.Fatal(err)
		}
	}
}

// allocated is how many bytes of heap there ever were. It counts small ones late, and
// large ones at once.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
