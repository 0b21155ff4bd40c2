package consume

import (
	"errors"
	"fmt"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/frame"
)

// What to do when the producer of an SPSC ring died.
const (
	wait = "wait"
	exit = "exit"
	fail = "fail" // -no-producer
)

type config struct {
	ring      cli.Ring
	out       cli.Out
	create    bool
	once      bool
	file      string
	append    bool
	truncate  bool
	format    frame.Format
	verify    bool
	count     int64 // 0: no limit
	timeout   time.Duration
	producers int
	follow    bool
	onDeath   string
	alone     string
	cpu       int
}

// Flags are those of the program, for its manual page.
func Flags() *cli.Flags { return new(config).flags() }

// flags makes the command line that fills in c.
func (c *config) flags() *cli.Flags {
	f := cli.NewFlags("consumer", "receive the records of a shared memory ring", help)
	c.register(f)
	return f
}

func (c *config) register(f *cli.Flags) {
	c.ring.Register(f)
	c.out.Register(f)
	f.Bool(&c.create, "create")
	f.Bool(&c.once, "at-most-once")
	f.Func("o", c.setFile)
	f.Bool(&c.append, "append")
	f.Bool(&c.truncate, "truncate")
	f.Func("frame", c.format.Set)
	f.Bool(&c.verify, "verify")
	cli.Int(f, &c.count, "count")
	f.Duration(&c.timeout, "timeout")
	cli.Int(f, &c.producers, "producers")
	f.Bool(&c.follow, "follow")
	f.OneOf(&c.onDeath, "on-death", wait, exit)
	f.OneOf(&c.alone, "no-producer", wait, fail)
	c.cpu = -1
	cli.Int(f, &c.cpu, "cpu")
}

func (c *config) setFile(name string) error {
	switch {
	case name == "":
		return errors.New("want the name of a file")
	case c.file != "":
		return fmt.Errorf("records go to one file, and %s is one already", c.file)
	}
	c.file = name
	return nil
}

func (c *config) check(f *cli.Flags, operands []string) error {
	switch {
	case len(operands) > 0:
		return cli.Usagef("what is %q? Records go to standard output, or to a file with -o FILE", operands[0])
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
	case (c.append || c.truncate) && c.file == "":
		return cli.Usagef("-append and -truncate are about the file of -o: give -o FILE too")
	case c.append && c.truncate:
		return cli.Usagef("-append keeps what is in the file of -o and -truncate does not: give one of them")
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
