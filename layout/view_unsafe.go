package layout

import (
	"fmt"
	"hash/crc32"
	"math"
	"unsafe"
)

// Where things are. The package comment is the table; these lines and the asserts
// below are what keeps it true.
const (
	geometryOffset     = 64
	hotOffset          = 128
	participantsOffset = MinSize
	participantSize    = 512
	eventSize          = 40
	descriptorSize     = 64
	checksummed        = 56 // bytes of the identity before the checksum
	keptSize           = 24
)

// Each line fails to compile when a field has moved.
var same [1]struct{}
var (
	_ = same[unsafe.Offsetof(Identity{}.Magic)-0]
	_ = same[unsafe.Offsetof(Identity{}.Endian)-8]
	_ = same[unsafe.Offsetof(Identity{}.Major)-12]
	_ = same[unsafe.Offsetof(Identity{}.Minor)-14]
	_ = same[unsafe.Offsetof(Identity{}.HeaderSize)-16]
	_ = same[unsafe.Offsetof(Identity{}.Kind)-20]
	_ = same[unsafe.Offsetof(Identity{}.UUID)-24]
	_ = same[unsafe.Offsetof(Identity{}.Size)-40]
	_ = same[unsafe.Offsetof(Identity{}.Created)-48]
	_ = same[unsafe.Offsetof(Identity{}.Checksum)-checksummed]
	_ = same[unsafe.Sizeof(Identity{})-geometryOffset]
	_ = same[unsafe.Offsetof(Geometry{}.Slots)-(64-geometryOffset)]
	_ = same[unsafe.Offsetof(Geometry{}.SlotSize)-(72-geometryOffset)]
	_ = same[unsafe.Offsetof(Geometry{}.Participants)-(76-geometryOffset)]
	_ = same[unsafe.Offsetof(Geometry{}.MaxMessage)-(80-geometryOffset)]
	_ = same[unsafe.Offsetof(Geometry{}.Incompat)-(88-geometryOffset)]
	_ = same[unsafe.Offsetof(Geometry{}.Compat)-(96-geometryOffset)]
	_ = same[unsafe.Offsetof(Geometry{}.Doorbell)-(104-geometryOffset)]
	_ = same[unsafe.Offsetof(Geometry{}.Descriptors)-(112-geometryOffset)]
	_ = same[unsafe.Offsetof(Geometry{}.Payload)-(120-geometryOffset)]
	_ = same[unsafe.Sizeof(Geometry{})-(hotOffset-geometryOffset)]
	_ = same[unsafe.Offsetof(Hot{}.Tail)-(128-hotOffset)]
	_ = same[unsafe.Offsetof(Hot{}.Written)-(136-hotOffset)]
	_ = same[unsafe.Offsetof(Hot{}.ReadPos)-(256-hotOffset)]
	_ = same[unsafe.Offsetof(Hot{}.Waypoints)-(264-hotOffset)]
	_ = same[unsafe.Offsetof(Waypoints{}.Turn)-0]
	_ = same[unsafe.Offsetof(Waypoints{}.Places)-8]
	_ = same[unsafe.Sizeof(Waypoint{})-16]
	_ = same[unsafe.Offsetof(Waypoint{}.Messages)-8]
	_ = same[unsafe.Offsetof(Hot{}.DataBell)-(384-hotOffset)]
	_ = same[unsafe.Offsetof(Hot{}.SpaceBell)-(512-hotOffset)]
	_ = same[unsafe.Offsetof(Hot{}.Priority)-(520-hotOffset)]
	_ = same[unsafe.Offsetof(Hot{}.Semaphores)-(640-hotOffset)]
	_ = same[unsafe.Offsetof(Hot{}.News)-(664-hotOffset)]
	_ = same[unsafe.Offsetof(Hot{}.Events)-(672-hotOffset)]
	_ = same[unsafe.Offsetof(Hot{}.Stamp)-(680-hotOffset)]
	_ = same[unsafe.Offsetof(Hot{}.Queueing)-(688-hotOffset)]
	_ = same[unsafe.Offsetof(Semaphores{}.Set)-0]
	_ = same[unsafe.Offsetof(Semaphores{}.Key)-8]
	_ = same[unsafe.Offsetof(Semaphores{}.Namespace)-16]
	_ = same[unsafe.Sizeof(Semaphores{})-24]
	_ = same[unsafe.Sizeof(Hot{})-(participantsOffset-hotOffset)]
	_ = same[unsafe.Offsetof(Participant{}.State)-0]
	_ = same[unsafe.Offsetof(Participant{}.Epoch)-4]
	_ = same[unsafe.Offsetof(Participant{}.Role)-8]
	_ = same[unsafe.Offsetof(Participant{}.PID)-12]
	_ = same[unsafe.Offsetof(Participant{}.Started)-16]
	_ = same[unsafe.Offsetof(Participant{}.BootID)-24]
	_ = same[unsafe.Offsetof(Participant{}.PIDNamespace)-32]
	_ = same[unsafe.Offsetof(Participant{}.DrainPos)-40]
	_ = same[unsafe.Offsetof(Participant{}.Counters)-48]
	_ = same[unsafe.Offsetof(Participant{}.Progress)-200]
	_ = same[unsafe.Offsetof(Participant{}.Label)-208]
	_ = same[unsafe.Offsetof(Participant{}.Since)-248]
	_ = same[unsafe.Offsetof(Participant{}.Told)-256]
	_ = same[unsafe.Offsetof(Participant{}.CPU)-260]
	_ = same[unsafe.Offsetof(Participant{}.Over)-264]
	_ = same[unsafe.Offsetof(Participant{}.Fates)-272]
	_ = same[unsafe.Sizeof(StreamFate{})-24]
	_ = same[unsafe.Sizeof(Participant{})-participantSize]
	_ = same[unsafe.Sizeof(header{})-FixedSize]
	_ = same[unsafe.Offsetof(Event{}.Seq)-0]
	_ = same[unsafe.Offsetof(Event{}.Time)-8]
	_ = same[unsafe.Offsetof(Event{}.What)-16]
	_ = same[unsafe.Offsetof(Event{}.Pos)-24]
	_ = same[unsafe.Offsetof(Event{}.PID)-32]
	_ = same[unsafe.Offsetof(Event{}.By)-36]
	_ = same[unsafe.Sizeof(Event{})-eventSize]
	_ = same[unsafe.Sizeof(Kept{})-keptSize]
	_ = same[unsafe.Offsetof(Kept{}.Check)-16]
	_ = same[unsafe.Offsetof(Descriptor{}.Ctl)-0]
	_ = same[unsafe.Offsetof(Descriptor{}.Meta)-8]
	_ = same[unsafe.Offsetof(Descriptor{}.Inline)-16]
	_ = same[unsafe.Sizeof(Descriptor{})-descriptorSize]
)

// View is a checked way into the bytes of one segment. Config is a private copy:
// nothing that decides where an access goes is ever read from the segment again.
// The slices alias the segment and are as long as Config says.
type View struct {
	Config       Config
	Hot          *Hot
	Participants []Participant
	Events       []Event
	Descriptors  []Descriptor // of an MPSC ring
	Payload      []byte       // likewise
	Area         []byte       // of an SPSC or broadcast ring: its records; at a multiple of 4096
	Kept         []Kept       // of a broadcast ring: its waypoints, see Waymarks
}

// header is the checked prefix, as one private copy.
type header struct {
	Identity
	Geometry
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum covers the immutable part without the checksum itself. h is a private copy.
func (h *header) sum() uint32 {
	b := unsafe.Slice((*byte)(unsafe.Pointer(h)), hotOffset)
	return crc32.Update(crc32.Checksum(b[:checksummed], castagnoli), castagnoli, b[geometryOffset:])
}

// Format turns zeroed memory into an empty ring. mem must be exactly as long as
// cfg.Size says, zero, aligned to 128 bytes, and not yet visible to anyone else.
// The error is a *FieldError that wraps ErrConfig.
func Format(mem []byte, cfg Config) (*View, error) {
	size, err := cfg.Size()
	if err != nil {
		return nil, err
	}
	if int64(len(mem)) != size {
		return nil, &FieldError{"memory", fmt.Sprint(len(mem), " bytes"), fmt.Sprint(size), ErrConfig}
	}
	checkAligned(mem)
	d, p, _ := cfg.offsets()
	h := (*header)(unsafe.Pointer(unsafe.SliceData(mem)))
	h.Identity = Identity{
		Magic: Magic, Endian: EndianOK, Major: Major, Minor: Minor,
		HeaderSize: uint32(d), Kind: cfg.Kind, UUID: cfg.UUID, Size: uint64(size), Created: cfg.Created,
	}
	h.Geometry = Geometry{
		Slots: uint64(cfg.Slots), SlotSize: uint32(cfg.SlotSize), Participants: uint32(cfg.Participants),
		MaxMessage: uint64(cfg.MaxMessage), Incompat: cfg.features(), Doorbell: cfg.Doorbell,
		Descriptors: uint64(d), Payload: uint64(p),
	}
	h.Checksum = h.sum()
	v := overlay(mem, cfg)
	if start := cfg.Start; cfg.Kind == MPSC {
		v.Hot.Tail.Store(PackTail(start, 0, 0))
		v.begin(start)
	} else {
		v.Hot.Written.Store(start &^ (RecordAlign - 1))
		v.begin(start &^ (RecordAlign - 1))
	}
	return v, nil
}

func (v *View) begin(pos uint64) {
	v.Hot.ReadPos.Store(pos)
	v.Hot.Waypoints.Places[0].Position = pos
	v.Participants[ConsumerIndex].DrainPos.Store(pos)
	if v.Config.Kind == Broadcast {
		*v.KeptOf(pos) = Kept{Waypoint: Waypoint{Position: pos}, Check: pos + 1}
	}
}

// Parse checks the header of a segment and gives a View of it. It copies the header
// once and validates the copy, so a peer that rewrites the segment meanwhile can
// make Parse fail but cannot make it accept one thing and use another. mem must be
// aligned to 128 bytes, as every mapping is.
//
// The error is a *FieldError that wraps ErrFormat, ErrVersion or ErrCorrupt.
func Parse(mem []byte) (*View, error) {
	checkAligned(mem) // whatever is in it
	return ViewOf(mem[:min(len(mem), FixedSize)], mem)
}

// ViewOf is Parse for who has judged a segment by [ParseFixed] before: it goes by that copy of
// the first FixedSize bytes, and reads nothing of mem.
func ViewOf(fixed, mem []byte) (*View, error) {
	cfg, err := ParseFixed(fixed, int64(len(mem)))
	if err != nil {
		return nil, err
	}
	checkAligned(mem)
	return overlay(mem, cfg), nil
}

// ParseFixed checks a copy of the first FixedSize bytes of a segment that is length bytes long,
// before any of it is mapped. The error is as that of [Parse].
func ParseFixed(fixed []byte, length int64) (Config, error) {
	var h header
	own := unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Sizeof(h))
	if length < participantsOffset || len(fixed) < len(own) {
		return Config{}, tooShort(length)
	}
	copy(own, fixed)
	return h.config(length)
}

func tooShort(length int64) error {
	return &FieldError{"file size", fmt.Sprint(length), fmt.Sprintf("at least %d", participantsOffset), ErrFormat}
}

// ParseHead is Parse for somebody who has only the first MinSize bytes, copied: it
// returns the Config, and a private copy of the hot words. Whether the segment is as
// long as its header says is not known.
func ParseHead(head []byte) (Config, *Hot, error) {
	if len(head) < participantsOffset {
		return Config{}, nil, tooShort(int64(len(head)))
	}
	var private struct {
		header
		Hot
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&private)), unsafe.Sizeof(private)), head)
	cfg, err := private.config(int64(private.Size))
	if err != nil {
		return Config{}, nil, err
	}
	return cfg, &private.Hot, nil
}

// ParseIdentity reads what no version may move from the first bytes of a file: of a segment that
// this program cannot read it still tells which it is. The copy is private. The error is a
// *FieldError that wraps ErrFormat, where these are not the first bytes of a segment, or
// ErrVersion, where it was made by a machine of the other byte order and no number means anything.
func ParseIdentity(head []byte) (Identity, error) {
	var id Identity
	if len(head) < geometryOffset {
		return id, &FieldError{"file size", fmt.Sprint(len(head)), fmt.Sprintf("at least %d", geometryOffset), ErrFormat}
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&id)), unsafe.Sizeof(id)), head)
	switch {
	case id.Magic != Magic:
		return id, &FieldError{"magic", fmt.Sprintf("%#x", id.Magic), fmt.Sprintf("%#x", Magic), ErrFormat}
	case id.Endian != EndianOK:
		return id, &FieldError{"endian mark", fmt.Sprintf("%#x", id.Endian), fmt.Sprintf("%#x", EndianOK), ErrVersion}
	}
	return id, nil
}

// config checks the private copy of a header, in a segment of that many bytes.
func (h *header) config(length int64) (Config, error) {
	bad := func(err error, field string, got, want any) (Config, error) {
		return Config{}, &FieldError{field, fmt.Sprint(got), fmt.Sprint(want), err}
	}
	switch {
	case h.Magic != Magic:
		return bad(ErrFormat, "magic", fmt.Sprintf("%#x", h.Magic), fmt.Sprintf("%#x", Magic))
	case h.Endian != EndianOK:
		return bad(ErrVersion, "endian mark", fmt.Sprintf("%#x", h.Endian), fmt.Sprintf("%#x", EndianOK))
	case h.Major != Major:
		return bad(ErrVersion, "version", fmt.Sprintf("%d.%d", h.Major, h.Minor), fmt.Sprintf("%d.x", Major))
	case h.Incompat&^KnownIncompat != 0:
		return bad(ErrVersion, "feature bits", fmt.Sprintf("%#x", h.Incompat), fmt.Sprintf("none beyond %#x", KnownIncompat))
	case h.Checksum != h.sum():
		return bad(ErrCorrupt, "checksum", fmt.Sprintf("%#x", h.Checksum), fmt.Sprintf("%#x", h.sum()))
	case h.Slots > MaxSlots:
		return bad(ErrCorrupt, "slots", h.Slots, fmt.Sprintf("at most %d", MaxSlots))
	case h.MaxMessage > min(MaxSize, math.MaxInt):
		return bad(ErrCorrupt, "max message", h.MaxMessage, "less")
	}
	cfg := Config{
		Kind: h.Kind, Slots: int(h.Slots), SlotSize: int(h.SlotSize), MaxMessage: int(h.MaxMessage),
		Participants: int(h.Participants), Incompat: h.Incompat &^ kindIncompat, Doorbell: h.Doorbell, UUID: h.UUID,
		Created: h.Created,
	}
	if err := cfg.check(); err != nil {
		fe := err.(*FieldError)
		return bad(ErrCorrupt, fe.Field, fe.Got, fe.Want)
	}
	if h.Incompat != cfg.features() {
		return bad(ErrVersion, "feature bits", fmt.Sprintf("%#x", h.Incompat), fmt.Sprintf("%#x of a ring of kind %v",
			cfg.features(), cfg.Kind))
	}
	d, p, size := cfg.offsets()
	switch {
	case h.Descriptors != uint64(d):
		return bad(ErrCorrupt, "descriptor offset", h.Descriptors, d)
	case h.HeaderSize != uint32(d):
		return bad(ErrCorrupt, "header size", h.HeaderSize, d)
	case h.Geometry.Payload != uint64(p):
		return bad(ErrCorrupt, "payload offset", h.Geometry.Payload, p)
	case h.Size != uint64(size):
		return bad(ErrCorrupt, "size", h.Size, size)
	case length != size:
		return bad(ErrCorrupt, "file size", length, size)
	}
	return cfg, nil
}

// overlay lays the typed view over mem. cfg was checked and mem is as long as it
// says, so every slice made here ends inside mem.
func overlay(mem []byte, cfg Config) *View {
	d, p, _ := cfg.offsets()
	base := unsafe.Pointer(unsafe.SliceData(mem))
	v := &View{
		Config:       cfg,
		Hot:          (*Hot)(unsafe.Add(base, hotOffset)),
		Participants: unsafe.Slice((*Participant)(unsafe.Add(base, participantsOffset)), cfg.Participants),
		Events:       unsafe.Slice((*Event)(unsafe.Add(base, cfg.eventsOffset())), Events),
	}
	if cfg.Kind == Broadcast {
		v.Kept = unsafe.Slice((*Kept)(unsafe.Add(base, cfg.keptOffset())), Waymarks)
	}
	if cfg.IsInLine() {
		v.Area = mem[p : p+cfg.Area() : p+cfg.Area()]
		return v
	}
	v.Descriptors = unsafe.Slice((*Descriptor)(unsafe.Add(base, d)), cfg.Slots)
	v.Payload = mem[p : p+int64(cfg.Slots)*int64(cfg.SlotSize) : p+int64(cfg.Slots)*int64(cfg.SlotSize)]
	return v
}

func checkAligned(mem []byte) {
	if uintptr(unsafe.Pointer(unsafe.SliceData(mem)))%128 != 0 {
		panic("layout: memory is not aligned to 128 bytes")
	}
}
