package shmring

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// Geometry is how much a ring holds. See [Options] for what each number means.
type Geometry struct {
	Slots        int `json:"slots"`
	SlotSize     int `json:"slot_size"`
	MaxMessage   int `json:"max_message"`
	MaxProducers int `json:"max_producers"`
}

// Resized tells what Resize found and did.
type Resized struct {
	Name string   `json:"name"`
	Path string   `json:"path"`
	Was  Geometry `json:"was"`
	Is   Geometry `json:"is"`
	Size int64    `json:"size"` // of the file, in bytes
	// Changed is false if the ring had that geometry already: then nothing was done, and the
	// rest is zero.
	Changed bool `json:"changed"`
	// NewUUID says that messages that a consumer may have seen have other positions now, and so
	// the ring another Info.UUID: whoever has stored a Position does not compare it with those
	// of this ring.
	NewUUID bool       `json:"new_uuid"`
	Dead    []DeadPeer `json:"dead,omitempty"` // participants that had died without leaving
	Skipped int        `json:"skipped"`        // unfinished claims that were given up
	Used    int        `json:"used"`           // slots that waited for a consumer
}

// ResizeError tells what of a ring does not fit into the geometry that Resize was asked for. The
// ring is as it was.
type ResizeError struct {
	Ring       string
	Field      string // of the geometry: "slots", "slots × slot size", "max message" or "max producers"
	What       string // takes more of it than there would be
	Need, Have int
	Position   Position // of the message, where it is one
}

// Error names the ring, both numbers and the remedy.
func (e *ResizeError) Error() string {
	at := ""
	if e.Position != (Position{}) {
		at = fmt.Sprintf(" at %v", e.Position)
	}
	need := fmt.Sprint(e.Field, " ", e.Need)
	if e.Field == "slots" {
		need = fmt.Sprint(e.Need, " slots")
	}
	return fmt.Sprintf("%snot resized: %s%s needs %s, and there would be %d: ask for more, or let a consumer take what "+
		"is in the ring first", prefix(e.Ring), e.What, at, need, e.Have)
}

// Resize makes a ring that nobody uses anew with another geometry: what is not zero in g is
// changed, NoPayload being no slot size, and the rest stays. All that is in the ring stays in it:
// the messages, in their order, each with its kind, its producer and whether it is redelivered,
// and how streams have ended that no consumer was told of. Whoever consumes next gets what it
// would have got. Like [Recover], Resize also frees what the dead hold.
//
// The new ring takes the place of the old one in one step, and both take memory until then. If
// Resize fails or its process dies, the ring is as it was. Processes that open it meanwhile
// wait, and get the new one.
//
// Positions stay, and with them exactly-once effects, where slots (SPSC: the area that they and
// MaxMessage make, see [Options].Slots) become no fewer and no
// smaller. Otherwise messages that nobody has seen may get others, which are behind all that were
// ever given out; and if a message that a consumer may have seen cannot keep its own, the ring
// gets another UUID (Resized.NewUUID), which tells whoever compares positions.
//
// A ring that has that geometry already is left alone, also in use. The locks of a process may
// outlive it by a moment, so otherwise Resize waits for a ring in use for a quarter of a second
// at most, and until ctx is done. Errors: [ErrBusy] while any process has the ring open;
// [*ResizeError]; [*OptionError]; [*SpaceError]; fs.ErrPermission (the file belongs to somebody
// else); fs.ErrNotExist; [ErrCorrupt], after which only [Remove] helps; those of opening.
func Resize(ctx context.Context, name string, g Geometry, o *AdminOptions) (r Resized, err error) {
	err = visit(ctx, name, o, func(seg *shm.Segment, view *layout.View) error {
		was := view.Config
		r.Name, r.Path, r.Was, r.Is = name, seg.Path(), geometryOf(was), geometryOf(was)
		cfg, size, err := g.of(was)
		if err != nil {
			return err
		}
		r.Size = size
		if cfg == was {
			return nil
		}
		if was.Kind == layout.Broadcast {
			return &BroadcastError{name, "another geometry",
				"it keeps what nobody waits for; remove it, and have it created anew"}
		}
		if err := awaitAlone(ctx, name, seg); err != nil {
			return err
		}
		if err := resize(ctx, &r, seg, view, cfg); err != nil {
			return notResized(name, seg.Path(), err)
		}
		r.Is, r.Changed = geometryOf(cfg), true
		return nil
	})
	return r, err
}

// notResized makes an error tell what was not done.
func notResized(name, path string, err error) error {
	if e, ok := err.(*ring.MisfitError); ok {
		return &ResizeError{name, e.Field, e.What, e.Need, e.Have, Position{Record: e.Position}}
	}
	return fmt.Errorf("shmring: %s: not resized: %w", path, ofFile(path, named(name, err)))
}

// resize makes the ring anew. The caller has it alone.
func resize(ctx context.Context, r *Resized, seg *shm.Segment, view *layout.View, cfg layout.Config) error {
	repaired, err := ring.Repair(view, seg)
	if err != nil {
		return err
	}
	move, err := ring.PlanMove(view, cfg)
	if err != nil {
		return err
	}
	if r.NewUUID = move.Renames(); r.NewUUID {
		rand.Read(cfg.UUID[:]) // never fails
	}
	// Its semaphores are known by the old file. Whoever would use the old ring, should this
	// go wrong, makes others.
	if err := removeSemaphores(seg, view); err != nil {
		return err
	}
	err = seg.Replace(ctx, r.Size, func(mem []byte) error {
		v, err := layout.Format(mem, cfg)
		if err != nil {
			return err
		}
		return move.Into(ctx, v, !r.NewUUID)
	})
	r.Dead, r.Skipped, r.Used = deadOf(repaired), repaired.Skipped, repaired.Used
	return err
}

// removeSemaphores removes the semaphores of a ring that nobody uses.
func removeSemaphores(seg *shm.Segment, view *layout.View) error {
	if err := doorbell.Reachable(view.Config, &view.Hot.Semaphores); err != nil {
		return err
	}
	uid, _, _, err := seg.Owner()
	if err != nil {
		return err
	}
	return doorbell.Remove(view.Config, &view.Hot.Semaphores, doorbell.File{Inode: seg.Inode(), Owner: uid})
}

// awaitAlone waits a moment for those to go who have the ring open.
func awaitAlone(ctx context.Context, name string, seg *shm.Segment) error {
	begin := time.Now()
	return retry(ctx, name, "resize", func() (bool, error) {
		alone, err := seg.Alone()
		if alone || err != nil {
			return true, err
		}
		err = fmt.Errorf("shmring: %s: not resized: a process has it open: close its producers and consumers first "+
			"(fuser %[1]s lists them)", seg.Path())
		return time.Since(begin) >= shm.Patience, inUse{err}
	})
}

func geometryOf(cfg layout.Config) Geometry {
	return Geometry{cfg.Slots, cfg.SlotSize, cfg.MaxMessage, cfg.Participants - 1}
}

// of is a ring's header with another geometry, and its size. The error is an *OptionError.
func (g Geometry) of(was layout.Config) (cfg layout.Config, size int64, err error) {
	o := &Options{Kind: Kind(was.Kind), Slots: g.Slots, SlotSize: g.SlotSize, MaxMessage: g.MaxMessage,
		MaxProducers: g.MaxProducers}
	if err = o.check(); err == nil {
		now := geometryOf(was)
		o.Slots, o.MaxMessage = cmp.Or(g.Slots, now.Slots), cmp.Or(g.MaxMessage, now.MaxMessage)
		if o.SlotSize = cmp.Or(g.SlotSize, now.SlotSize); o.SlotSize == 0 {
			o.SlotSize = NoPayload
		}
		if o.Kind == KindMPSC {
			o.MaxProducers = cmp.Or(g.MaxProducers, now.MaxProducers)
		}
		size, err = o.checkGeometry()
	}
	if bad, ok := errors.AsType[*OptionError](err); ok {
		option := strings.ReplaceAll(bad.Option, "Options.", "Geometry.")
		return cfg, 0, &OptionError{option, bad.Got, bad.Want}
	}
	cfg = o.layout()
	cfg.MaxMessage = cmp.Or(g.MaxMessage, was.MaxMessage) // also where that is 0
	cfg.Doorbell, cfg.Incompat, cfg.UUID, cfg.Created = was.Doorbell, was.Incompat, was.UUID, was.Created
	return cfg, size, err
}
