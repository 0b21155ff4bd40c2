package cli

import (
	"errors"
	"strings"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// Ring holds the flags that name a ring and describe one to be created.
type Ring struct {
	Name    string
	Options shmring.Options
}

// RingHelp is the part of a help text that lists them, RingNote what is to be said
// behind it.
const RingHelp = `  -ring NAME          which ring; its file is DIR/NAME.shmring
  -dir DIR            where rings live (default $SHMRING_DIR, else /dev/shm)
  -kind spsc|mpsc     one producer, or many at a time
  -slots N            how many messages of up to max(48, -slot-size) bytes fit, a
                      power of two; longer messages take several slots
  -slot-size BYTES    a multiple of 64; 0: no message is longer than 48 bytes
  -max-message BYTES  the longest message, at most 4095 slots
  -max-producers N    of an mpsc ring, at a time
  -wait auto          spin for 20 us, then sleep, as the ring says or $SHMRING_WAIT
  -wait futex         the same, and insist on a ring that sleeps on futexes
  -wait sysv          likewise on a SysV semaphore
  -wait flock         likewise in naps, which works everywhere and is slow
  -wait spin          never sleep: the lowest latency, for one processor each
`

const RingNote = `
What is not given is taken from the ring if there is one. A new ring is spsc, of
8192 slots of 256 bytes, for messages of up to 64K, and takes 2.6 MiB. It stays
when both sides have gone: remove its file to be rid of it. BYTES may end in K, M
or G.
`

// Register adds the flags.
func (r *Ring) Register(f *Flags) {
	o := &r.Options
	f.StringVar(&r.Name, "ring", "", "")
	f.StringVar(&o.Dir, "dir", "", "")
	f.Func("kind", "", func(s string) error {
		switch s {
		case "spsc":
			o.Kind = shmring.SPSC
		case "mpsc":
			o.Kind = shmring.MPSC
		default:
			return errors.New("want spsc or mpsc")
		}
		return nil
	})
	f.IntVar(&o.Slots, "slots", 0, "")
	f.Bytes(&o.SlotSize, "slot-size")
	f.Bytes(&o.MaxMessage, "max-message")
	f.IntVar(&o.MaxProducers, "max-producers", 0, "")
	f.Func("wait", "", func(s string) error {
		switch s {
		case "auto":
			o.Wait = shmring.WaitAuto
		case "futex":
			o.Wait = shmring.WaitFutex
		case "sysv":
			o.Wait = shmring.WaitSysV
		case "flock":
			o.Wait = shmring.WaitFlock
		case "spin":
			o.Wait = shmring.WaitSpin
		default:
			return errors.New("want auto, futex, sysv, flock or spin")
		}
		return nil
	})
}

// Check finds what cannot be before anything is touched. Its error is a *UsageError.
func (r *Ring) Check(f *Flags) error {
	if r.Name == "" {
		return Usagef("no ring named: give -ring NAME, the same to producer and consumer")
	}
	if err := shm.ValidateName(r.Name); err != nil {
		return Usagef("-ring: %v", err)
	}
	if f.IsSet("slot-size") && r.Options.SlotSize == 0 {
		r.Options.SlotSize = shmring.NoPayload
	}
	if _, err := r.Options.Size(); err != nil {
		return geometryError(err)
	}
	return nil
}

// geometryError names the flag behind a field that cannot be.
func geometryError(err error) error {
	var bad *layout.FieldError
	if !errors.As(err, &bad) {
		return Usagef("%v", err)
	}
	name := strings.ReplaceAll(bad.Field, " ", "-")
	if name == "participants" {
		name = "max-producers" // and the consumer
	}
	return Usagef("-%s: %s is %s, want %s", name, bad.Field, bad.Got, bad.Want)
}
