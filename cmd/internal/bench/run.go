package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	command "github.com/urfave/cli/v3"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/quantity"
	"github.com/shmring/shmring/cmd/internal/workers"
	"github.com/shmring/shmring/internal/pin"
)

// Summary is the command in one line.
const Summary = "measure how fast messages go here, beside a socket"

// Help is the command's.
const Help = `Usage: shmring bench [flags]

Measures between processes on this machine how fast messages stream through a ring, and
how long one takes there and back, for each size: a ring of its own, with the options of
yours, which are the defaults if you give none. Beside it a Unix socket is measured in the
same rounds. The receiver copies every byte out before a message counts, and as many
messages have to arrive as were sent. It leaves nothing behind.

Let the machine be quiet meanwhile. What it shows are medians over rounds with the lowest
and the highest of them, how busy the machine was, and where the processes ran: where the
system puts them, unless -pin says otherwise, as it does with yours.

Flags
  -size LIST          sizes of messages in bytes, as 8,1K,1M (default 32,1K,64K)
  -kind spsc|mpsc     the kind of the ring (default spsc)
  -producers N        of an mpsc ring, how many send streams side by side (default 1);
                      round trips, and the socket, always have one
` + cli.SlotsHelp + cli.WaitHelp + `  -pin CPU,CPU        keep the producer on the one, the consumer on the other; with
                      several producers give one for each, or one for all, then the
                      consumer's (default: wherever the system puts them)
  -for DURATION       measure for about so long (default 10s)
  -no-socket          measure the ring alone
` + workers.Common + `
` + cli.ExitCodes + `
Examples
  shmring bench
  shmring bench -for 30s -size 8,64,512,4K
  shmring bench -kind mpsc -producers 2 -size 256 -no-socket -json
  shmring bench -wait sleep -pin 0,0
`

// defaultFor is how long the command measures, unless told.
const defaultFor = 10 * time.Second

var defaultSizes = []int{32, 1 << 10, 64 << 10}

var kinds = []cli.Choice[shmring.Kind]{{Word: "spsc", Value: shmring.KindSPSC}, {Word: "mpsc", Value: shmring.KindMPSC}}

// config is what the command line asks for.
type config struct {
	flags     *cli.Flags
	ring      cli.Ring
	sizes     []int
	producers int
	pins      []int
	long      time.Duration
	noSocket  bool
}

// Command makes the command.
func Command(args []string, stdout, stderr io.Writer) *command.Command {
	c, r := &config{}, &report{}
	w := workers.Command{Name: "bench", Summary: Summary, Child: ChildCommand, Help: Help, Own: true, Report: r,
		Flags: c.register,
		Steps: func(_ context.Context, s *workers.Setup) ([]workers.Step, error) {
			if err := c.check(); err != nil {
				return nil, err
			}
			return newMeasurement(c, s, r).steps(), nil
		},
	}
	return w.Command(args, stdout, stderr)
}

func (c *config) register(f *cli.Flags) {
	c.flags, c.sizes, c.producers, c.long = f, defaultSizes, 1, defaultFor
	c.ring.Options.Kind = shmring.KindSPSC
	f.Func("size", c.setSizes)
	cli.Choose(f, &c.ring.Options.Kind, "kind", kinds)
	cli.Int(f, &c.producers, "producers")
	c.ring.RegisterSlots(f)
	c.ring.RegisterWait(f)
	f.Func("pin", c.setPins)
	f.Duration(&c.long, "for")
	f.Bool(&c.noSocket, "no-socket")
}

func (c *config) setSizes(list string) error {
	c.sizes = nil
	for word := range strings.SplitSeq(list, ",") {
		size, err := quantity.Bytes(word)
		if err != nil {
			return errors.New("want numbers of bytes, as 8,1K,1M")
		}
		if slices.Contains(c.sizes, size) {
			return fmt.Errorf("%d is there twice", size)
		}
		c.sizes = append(c.sizes, size)
	}
	return nil
}

func (c *config) setPins(list string) error {
	c.pins = nil
	for word := range strings.SplitSeq(list, ",") {
		cpu, err := strconv.Atoi(word)
		if err != nil || cpu < 0 {
			return errors.New("want numbers of processors, as 0,1: the producer's and the consumer's")
		}
		c.pins = append(c.pins, cpu)
	}
	return nil
}

// check finds what cannot be before anything is measured.
func (c *config) check() error {
	f, o := c.flags, &c.ring.Options
	switch {
	case c.producers < 1 || c.producers > shmring.DefaultMaxProducers:
		return cli.Usagef("-producers %d: want 1 to %d", c.producers, shmring.DefaultMaxProducers)
	case c.producers > 1 && o.Kind != shmring.KindMPSC:
		return cli.Usagef("-producers %d: a ring of kind spsc has one; give -kind mpsc", c.producers)
	case c.long <= 0:
		return cli.Usagef("-for %v: want a positive duration like 10s", c.long)
	case c.pins != nil && len(c.pins) != 2 && len(c.pins) != c.producers+1:
		return cli.Usagef("-pin has %d of them, want %s", len(c.pins), c.wantPins())
	}
	if largest := slices.Max(c.sizes); largest > shmring.DefaultMaxMessage || f.IsSet("slots") || f.IsSet("slot-size") {
		o.MaxMessage, c.ring.MaxMessageFrom = largest, "-size"
	}
	if err := c.ring.CheckOptions(f); err != nil {
		return err
	}
	for len(c.pins) > 0 && len(c.pins) < c.producers+1 {
		c.pins = slices.Insert(c.pins, 0, c.pins[0])
	}
	usable := pin.CPUs()
	for _, cpu := range c.pins {
		if !slices.Contains(usable, cpu) {
			return fmt.Errorf("-pin: processor %d: this process may run on %v", cpu, usable)
		}
	}
	return nil
}

func (c *config) wantPins() string {
	if c.producers == 1 {
		return "two processors: the producer's and the consumer's"
	}
	return fmt.Sprintf("two processors, the producers' and the consumer's, or %d, one for each", c.producers+1)
}
