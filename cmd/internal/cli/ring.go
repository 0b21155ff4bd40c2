package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

	// Unix is where a ring without a name is handed over, if not empty, and HandOver how.
	Unix     string
	HandOver shmring.HandOver

	// MaxMessageFrom names the flag that Options.MaxMessage follows from, if it is another
	// than -max-message.
	MaxMessageFrom string
}

// RingHelp is the part of a help text that lists them, RingNote what is to be said
// behind it.
const RingHelp = `  -ring NAME          which ring; its file is DIR/NAME.shmring
  -dir DIR            where rings live (default $SHMRING_DIR, else /dev/shm)
  -kind spsc|mpsc     one producer, or many at a time
  -kind broadcast     one producer that waits for nobody: what it sends overwrites the
                      oldest, and is not consumed but observed (shmring tap)
` + SlotsHelp + `  -max-message BYTES  the longest message, at most 4095 slots
  -max-producers N    of an mpsc ring, at a time
  -perm MODE          permission bits of a new ring, in octal (default 600): 660 lets
                      its group use it
  -group GROUP        the group of a new ring, by name or number: one of your own,
                      unless you are root
  -any-owner          accept a ring of somebody other than you and root, whom that trusts
  -label TEXT         what this process is called where people look, up to 32 bytes
                      (default: the name of the program)
  -measure-every N    measure how long one message in N is in the queue, and count it in
                      the ring, if both sides do; costs each call some nanoseconds
  -wait-for-role      while another process has the role, wait for it to leave, as its
                      successor does, rather than end with code 7
` + WaitHelp + UnixHelp

// SlotsHelp and WaitHelp are the parts of it that other programs have too.
const (
	SlotsHelp = `  -slots N            how many messages of up to max(48, -slot-size) bytes fit, a
                      power of two; longer messages take several slots
  -slot-size BYTES    a multiple of 64; 0: no message is longer than 48 bytes
`
	WaitHelp = `  -doorbell auto      sleep on the doorbell that the ring has. A new ring gets the
                      one that $SHMRING_DOORBELL names, else the best that works here
  -doorbell futex     insist on a futex: the fastest
  -doorbell sysv      insist on a SysV semaphore, where futexes are refused
  -doorbell poll      insist on short pauses, where both are refused
  -wait balanced      spin as long as that pays, then sleep (default)
  -wait sleep         sleep at once: the least processor time
  -wait spin          never sleep, but wake those who do: the lowest latency, for one
                      processor each
  -wait park          sleep at once, and take no thread for it
  -spin-for DURATION  how long -wait balanced spins at most (default 20us)
  -max-sleep DURATION
                      look after the dead so often at least while asleep, from 1ms on
                      (default 10ms, growing to 400ms in a long wait)
`
)

const RingNote = `
What is not given is taken from the ring if there is one. A new ring is spsc, of
8192 slots of 256 bytes, for messages of up to 64K, and takes 2.6 MiB. It stays
when both sides have gone: shmring remove NAME removes it. BYTES may end in K, M
or G.
`

// Doorbells are those that a ring may be asked for.
var Doorbells = []Choice[shmring.Doorbell]{
	{"futex", shmring.DoorbellFutex},
	{"sysv", shmring.DoorbellSysV},
	{"poll", shmring.DoorbellPoll},
}

// Policies are what a handle may be asked to do before it sleeps.
var Policies = []Choice[shmring.WaitPolicy]{
	{"balanced", shmring.WaitBalanced},
	{"sleep", shmring.WaitSleep},
	{"spin", shmring.WaitSpin},
	{"park", shmring.WaitPark},
}

// CheckDir reports a directory of rings that is not there, and who named it: nobody will make
// it while the program waits for its ring.
func (r *Ring) CheckDir() error {
	if r.Unix != "" {
		return nil
	}
	path, err := shm.Path(r.Name, &shm.Options{Dir: r.Options.Dir})
	if err != nil {
		return err
	}
	from := "-dir"
	if r.Options.Dir == "" {
		from = "$" + shmring.EnvDir
	}
	switch info, err := os.Stat(filepath.Dir(path)); {
	case err != nil:
		return fmt.Errorf("%s: %w", from, err)
	case !info.IsDir():
		return fmt.Errorf("%s: %s is no directory", from, filepath.Dir(path))
	}
	return nil
}

// ForCommands is what a command of the program shmring calls the ring.
func (r *Ring) ForCommands() string {
	if r.Options.Dir == "" {
		return r.Name
	}
	return "-dir " + r.Options.Dir + " " + r.Name
}

// minSleep is the shortest Options.MaxSleep that is not rounded up.
const minSleep = time.Millisecond

// Register adds the flags.
func (r *Ring) Register(f *Flags) {
	o := &r.Options
	f.String(&r.Name, "ring")
	f.String(&r.Unix, "unix")
	f.Func("allow-uid", r.setUIDs)
	f.String(&o.Dir, "dir")
	Choose(f, &o.Kind, "kind", []Choice[shmring.Kind]{{"spsc", shmring.KindSPSC}, {"mpsc", shmring.KindMPSC},
		{"broadcast", shmring.KindBroadcast}})
	r.RegisterSlots(f)
	f.Bytes(&o.MaxMessage, "max-message")
	Int(f, &o.MaxProducers, "max-producers")
	r.registerAccess(f)
	f.String(&o.Label, "label")
	Int(f, &o.MeasureEvery, "measure-every")
	f.Bool(&o.WaitForRole, "wait-for-role")
	r.RegisterWait(f)
}

// RegisterSlots adds the flags that SlotsHelp lists.
func (r *Ring) RegisterSlots(f *Flags) {
	Int(f, &r.Options.Slots, "slots")
	f.Bytes(&r.Options.SlotSize, "slot-size")
}

// RegisterWait adds those that WaitHelp lists.
func (r *Ring) RegisterWait(f *Flags) {
	o := &r.Options
	Choose(f, &o.Doorbell, "doorbell", append([]Choice[shmring.Doorbell]{{"auto", shmring.DoorbellAuto}}, Doorbells...))
	Choose(f, &o.WaitPolicy, "wait", Policies)
	f.Duration(&o.SpinFor, "spin-for")
	f.Duration(&o.MaxSleep, "max-sleep")
}

// Check finds what cannot be before anything is touched. Its error is a *UsageError.
func (r *Ring) Check(f *Flags) error {
	if err := r.checkUnix(f); err != nil {
		return err
	}
	if r.Name == "" && r.Unix == "" {
		return Usagef("no ring named: give -ring NAME, the same to producer and consumer")
	}
	if err := shm.ValidateName(r.Name); err != nil && r.Unix == "" {
		return Usagef("-ring: %v", err)
	}
	return r.CheckOptions(f)
}

// CheckOptions finds what cannot be in the options of a ring, whatever its name.
func (r *Ring) CheckOptions(f *Flags) error {
	if f.IsSet("slot-size") && r.Options.SlotSize == 0 {
		r.Options.SlotSize = shmring.NoPayload
	}
	if err := r.checkWaiting(f); err != nil {
		return err
	}
	if _, err := r.Options.Size(); err != nil {
		return r.optionError(err)
	}
	return nil
}

func (r *Ring) checkWaiting(f *Flags) error {
	o := &r.Options
	switch {
	case f.IsSet("spin-for") && o.WaitPolicy != shmring.WaitBalanced:
		return Usagef("-spin-for is for -wait balanced: the others spin for ever, or not at all")
	case f.IsSet("spin-for") && o.SpinFor <= 0:
		return Usagef("-spin-for %v: want a positive duration like 50us; -wait sleep does not spin", o.SpinFor)
	case f.IsSet("max-sleep") && o.MaxSleep < minSleep:
		return Usagef("-max-sleep %v: want %v or more", o.MaxSleep, minSleep)
	}
	return nil
}

// optionError names the flag behind an option that cannot be.
func (r *Ring) optionError(err error) error {
	var bad *shmring.OptionError
	if !errors.As(err, &bad) {
		return Usagef("%v", err)
	}
	if bad.Option == "Options.MaxMessage" && r.MaxMessageFrom != "" {
		return Usagef("%s: a message of %s bytes, want %s", r.MaxMessageFrom, bad.Got, bad.Want)
	}
	return OptionUsage(bad, "Options.")
}

// OptionUsage is the *UsageError for an option that cannot be and was given as a flag. Its name
// in Go is that of the flag behind a prefix.
func OptionUsage(bad *shmring.OptionError, prefix string) error {
	name, is := strings.CutPrefix(bad.Option, prefix)
	if !is { // two options together
		return Usagef("%s is %s, want %s", bad.Option, bad.Got, bad.Want)
	}
	name = "-" + strings.ToLower(flagOf.ReplaceAllString(name, "$1-$2"))
	return Usagef("%s is %s, want %s", name, bad.Got, inFlags.Replace(bad.Want))
}

// inFlags turns what options want into what flags want.
var inFlags = strings.NewReplacer("0, NoPayload or", "0 or", "0 or a power", "a power", "KindSPSC", "-kind spsc")

// flagOf finds where the words of an option's name meet.
var flagOf = regexp.MustCompile("([a-z])([A-Z])")
