package cli

import (
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/shmring/shmring"
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
  -wait auto          sleep on the doorbell that the ring has. A new ring gets the
                      one that $SHMRING_DOORBELL names, else the best that works here
  -wait futex         insist on a futex: the fastest
  -wait sysv          insist on a SysV semaphore, where futexes are refused
  -wait poll          insist on short naps, where both are refused
  -wait spin          never sleep, on a ring with any doorbell: the lowest latency,
                      for one processor each
  -policy balanced    spin as long as that pays, then sleep (default)
  -policy sleep       sleep at once: the least processor time
  -policy spin        never sleep, but wake those who do
  -spin-for DURATION  how long -policy balanced spins at most (default 20us)
  -max-sleep DURATION look after the dead so often at least while asleep, from 1ms on
                      (default 10ms, growing to 400ms in a long wait)
`

const RingNote = `
What is not given is taken from the ring if there is one. A new ring is spsc, of
8192 slots of 256 bytes, for messages of up to 64K, and takes 2.6 MiB. It stays
when both sides have gone: remove its file to be rid of it. BYTES may end in K, M
or G.
`

// Waits are the doorbells that a ring may be asked for.
var Waits = []Choice[shmring.Doorbell]{
	{"futex", shmring.DoorbellFutex},
	{"sysv", shmring.DoorbellSysV},
	{"poll", shmring.DoorbellPoll},
}

// Policies are what a handle may be asked to do before it sleeps.
var Policies = []Choice[shmring.WaitPolicy]{
	{"balanced", shmring.WaitBalanced},
	{"sleep", shmring.WaitSleep},
	{"spin", shmring.WaitSpin},
}

// minSleep is the shortest Options.MaxSleep that is not rounded up.
const minSleep = time.Millisecond

// Register adds the flags.
func (r *Ring) Register(f *Flags) {
	o := &r.Options
	f.StringVar(&r.Name, "ring", "", "")
	f.StringVar(&o.Dir, "dir", "", "")
	Choose(f, &o.Kind, "kind", []Choice[shmring.Kind]{{"spsc", shmring.KindSPSC}, {"mpsc", shmring.KindMPSC}})
	f.IntVar(&o.Slots, "slots", 0, "")
	f.Bytes(&o.SlotSize, "slot-size")
	f.Bytes(&o.MaxMessage, "max-message")
	f.IntVar(&o.MaxProducers, "max-producers", 0, "")
	Choose(f, &o.Doorbell, "wait", append([]Choice[shmring.Doorbell]{{"auto", shmring.DoorbellAuto}}, Waits...))
	Choose(f, &o.WaitPolicy, "policy", Policies)
	f.DurationVar(&o.SpinFor, "spin-for", 0, "")
	f.DurationVar(&o.MaxSleep, "max-sleep", 0, "")
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
	if err := r.checkWaiting(f); err != nil {
		return err
	}
	if _, err := r.Options.Size(); err != nil {
		return optionError(err)
	}
	return nil
}

func (r *Ring) checkWaiting(f *Flags) error {
	o := &r.Options
	switch {
	case f.IsSet("spin-for") && o.WaitPolicy != shmring.WaitBalanced:
		return Usagef("-spin-for is for -policy balanced: the others spin for ever, or not at all")
	case f.IsSet("spin-for") && o.SpinFor <= 0:
		return Usagef("-spin-for %v: want a positive duration like 50us; -policy sleep does not spin", o.SpinFor)
	case f.IsSet("max-sleep") && o.MaxSleep < minSleep:
		return Usagef("-max-sleep %v: want %v or more", o.MaxSleep, minSleep)
	}
	return nil
}

// optionError names the flag behind an option that cannot be.
func optionError(err error) error {
	var bad *shmring.OptionError
	if !errors.As(err, &bad) {
		return Usagef("%v", err)
	}
	name := flagOf.ReplaceAllString(strings.TrimPrefix(bad.Option, "Options."), "$1-$2")
	if name == bad.Option {
		return Usagef("%s is %s, want %s", bad.Option, bad.Got, bad.Want) // of two options together
	}
	return Usagef("-%s is %s, want %s", strings.ToLower(name), bad.Got, bad.Want)
}

// flagOf finds where the words of an option's name meet.
var flagOf = regexp.MustCompile("([a-z])([A-Z])")
