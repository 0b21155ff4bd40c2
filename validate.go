package shmring

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/shmring/shmring/layout"
)

// OptionError tells which option has a value that cannot be. It matches fs.ErrInvalid.
type OptionError struct {
	Option string // as the user set it: "Options.Slots", "environment variable SHMRING_DOORBELL"
	Got    string
	Want   string
}

// Error names the option, what it is and what it may be.
func (e *OptionError) Error() string {
	return fmt.Sprintf("shmring: %s is %s, want %s", e.Option, e.Got, e.Want)
}

// Unwrap returns fs.ErrInvalid.
func (e *OptionError) Unwrap() error { return fs.ErrInvalid }

// minSleep is the least Options.MaxSleep.
const minSleep = time.Millisecond

// rule is what one option has to obey, whatever the others are.
type rule struct {
	option string
	ok     bool
	got    any
	want   string
}

func firstBroken(rules ...rule) error {
	for _, r := range rules {
		if !r.ok {
			return &OptionError{r.option, fmt.Sprint(r.got), r.want}
		}
	}
	return nil
}

// enumeration is the rule for an option whose values are numbered from 0 on.
func enumeration[T ~int](option string, got T, names ...string) rule {
	return rule{option, 0 <= got && int(got) < len(names), int(got), strings.Join(names, ", ")}
}

func notNegative[T ~int | ~int64](option string, got T) rule {
	return rule{option, got >= 0, got, "0 or more"}
}

// check checks every option by itself.
func (o *Options) check() error {
	slotSize := o.SlotSize == NoPayload ||
		o.SlotSize >= 0 && o.SlotSize <= layout.MaxSlotSize && o.SlotSize%layout.SlotAlign == 0
	slots := o.Slots == 0 || o.Slots >= layout.MinSlots && o.Slots <= layout.MaxSlots && o.Slots&(o.Slots-1) == 0
	producers := o.MaxProducers == 0 || o.MaxProducers >= 1 && o.MaxProducers <= DefaultMaxProducers
	perm := rule{"Options.Perm", o.Perm&^fs.ModePerm == 0, o.Perm, "permission bits only, up to 0777"}
	if perm.ok {
		octal := fmt.Sprintf("%#o", uint32(o.Perm))
		perm = rule{"Options.Perm", o.Perm&0o002 == 0, octal, "no write permission for everybody (0002)"}
	}
	return firstBroken(
		enumeration("Options.Mode", o.Mode,
			"ModeDefault", "ModeOpenOrCreate", "ModeCreateOnly", "ModeOpenOnly", "ModeOpenWait"),
		enumeration("Options.Kind", o.Kind, "0", "KindSPSC", "KindMPSC", "KindBroadcast"),
		rule{"Options.Slots", slots, o.Slots,
			fmt.Sprintf("0 or a power of two, %d to %d", layout.MinSlots, layout.MaxSlots)},
		rule{"Options.SlotSize", slotSize, o.SlotSize,
			fmt.Sprintf("0, NoPayload or a multiple of %d up to %d", layout.SlotAlign, layout.MaxSlotSize)},
		notNegative("Options.MaxMessage", o.MaxMessage),
		notNegative("Options.Group", o.Group),
		notNegative("Options.MeasureEvery", o.MeasureEvery),
		rule{"Options.MaxProducers", producers, o.MaxProducers, fmt.Sprintf("1 to %d", DefaultMaxProducers)},
		rule{"Options.MaxProducers", o.Kind != KindSPSC || o.MaxProducers <= 1, o.MaxProducers, "1 with KindSPSC"},
		rule{"Options.MaxProducers", o.Kind != KindBroadcast || o.MaxProducers <= 1, o.MaxProducers, "1 with KindBroadcast"},
		perm,
		enumeration("Options.Doorbell", o.Doorbell, "DoorbellAuto", "DoorbellFutex", "DoorbellSysV", "DoorbellPoll"),
		waitPolicyRule("Options", o.WaitPolicy),
		spinForRule("Options", o.SpinFor),
		maxSleepRule("Options", o.MaxSleep),
		enumeration("Options.WhenFull", o.WhenFull, "WhenFullBlock", "WhenFullFail", "WhenFullDrop"),
		notNegative("Options.SendTimeout", o.SendTimeout),
		notNegative("Options.ExpectedProducers", o.ExpectedProducers),
		enumeration("Options.NoPeer", o.NoPeer, "NoPeerWait", "NoPeerFail"),
		enumeration("Options.Delivery", o.Delivery, "DeliveryAtLeastOnce", "DeliveryAtMostOnce"),
		o.broadcastRule(),
	)
}

// broadcastRule is the first that is broken of the rules that KindBroadcast makes.
func (o *Options) broadcastRule() rule {
	const full = "0 with KindBroadcast: such a ring is never full"
	is := o.Kind == KindBroadcast
	for _, r := range append(o.peerRules(is),
		rule{"Options.WhenFull", !is || o.WhenFull == WhenFullBlock, int(o.WhenFull), full},
		rule{"Options.SendTimeout", !is || o.SendTimeout == 0, o.SendTimeout, full},
		rule{"Options.Doorbell", !is || o.Doorbell == DoorbellAuto || o.Doorbell == DoorbellPoll, o.Doorbell,
			"DoorbellPoll with KindBroadcast: nobody is woken"}) {
		if !r.ok {
			return r
		}
	}
	return rule{ok: true}
}

// peerRules are about options that want somebody at the other end, whom a broadcast ring does not know.
func (o *Options) peerRules(broadcast bool) []rule {
	const nobody = "0 on a broadcast ring: it does not know who observes"
	return []rule{
		{"Options.NoPeer", !broadcast || o.NoPeer == NoPeerWait, int(o.NoPeer), nobody},
		{"Options.MeasureEvery", !broadcast || o.MeasureEvery == 0, o.MeasureEvery, nobody},
	}
}

func waitPolicyRule(of string, got WaitPolicy) rule {
	return enumeration(of+".WaitPolicy", got, "WaitBalanced", "WaitSleep", "WaitSpin", "WaitPark")
}

func spinForRule(of string, got time.Duration) rule {
	return rule{of + ".SpinFor", got >= 0, got,
		"0 or more; WaitPolicy is WaitSleep to sleep at once, WaitSpin to never sleep"}
}

func maxSleepRule(of string, got time.Duration) rule {
	return rule{of + ".MaxSleep", got == 0 || got >= minSleep, got, fmt.Sprintf("0, or %v or more", minSleep)}
}

// checkGeometry checks the options of a ring that is to be created together, and returns
// its size.
func (o *Options) checkGeometry() (int64, error) {
	size, err := o.layout().Size()
	if field, ok := errors.AsType[*layout.FieldError](err); ok {
		option := "Options." + field.Field
		switch field.Field {
		case "size":
			option = "a ring with these Options.Slots and Options.SlotSize"
		case "max message":
			option = "Options.MaxMessage"
		}
		return 0, &OptionError{option, field.Got, field.Want}
	}
	return size, err
}
