package consume

import (
	"io"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/frame"
)

// What to do when the producer of an SPSC ring died.
const (
	wait = "wait"
	exit = "exit"
)

type config struct {
	ring      cli.Ring
	out       cli.Out
	create    bool
	once      bool
	file      string
	format    frame.Format
	verify    bool
	count     int64 // 0: no limit
	timeout   time.Duration
	producers int
	follow    bool
	onDeath   string
	cpu       int
}

// parse reads the command line; done: it asked for help or the version only.
func parse(args []string, stdout, stderr io.Writer) (c *config, done bool, err error) {
	c = &config{out: cli.Out{Name: "consumer", W: stderr}}
	f := cli.NewFlags("consumer", help)
	c.register(f)
	if done, err := f.Parse(args, stdout); done || err != nil {
		return c, done, err
	}
	return c, false, c.check(f)
}

func (c *config) register(f *cli.Flags) {
	c.ring.Register(f)
	c.out.Register(f)
	f.BoolVar(&c.create, "create", false, "")
	f.BoolVar(&c.once, "at-most-once", false, "")
	f.StringVar(&c.file, "o", "", "")
	f.Var(&c.format, "frame", "")
	f.BoolVar(&c.verify, "verify", false, "")
	f.Int64Var(&c.count, "count", 0, "")
	f.DurationVar(&c.timeout, "timeout", 0, "")
	f.IntVar(&c.producers, "producers", 0, "")
	f.BoolVar(&c.follow, "follow", false, "")
	f.OneOf(&c.onDeath, "on-death", wait, exit)
	f.IntVar(&c.cpu, "cpu", -1, "")
}

func (c *config) check(f *cli.Flags) error {
	switch {
	case f.NArg() > 0:
		return cli.Usagef("what is %q? Records go to standard output, or to a file with -o FILE", f.Arg(0))
	case f.IsSet("count") && c.count < 1:
		return cli.Usagef("-count %d: want 1 or more; without -count all records are taken", c.count)
	case c.timeout < 0:
		return cli.Usagef("-timeout %v: want a positive duration like 5s", c.timeout)
	case f.IsSet("producers") && c.producers < 1:
		return cli.Usagef("-producers %d: want 1 or more", c.producers)
	case c.follow && c.producers > 0:
		return cli.Usagef("-follow never ends, so -producers does not go with it")
	case c.verify && (c.file != "" || f.IsSet("frame")):
		return cli.Usagef("-verify writes nothing, so -o and -frame do not go with it")
	case f.IsSet("cpu") && c.cpu < 0:
		return cli.Usagef("-cpu %d: want the number of a processor", c.cpu)
	}
	if c.create {
		c.ring.Options.Mode = shmring.ModeOpenOrCreate
	}
	if c.once {
		c.ring.Options.Delivery = shmring.DeliveryAtMostOnce
	}
	return c.ring.Check(f)
}
