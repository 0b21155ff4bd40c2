package produce

import (
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/frame"
	"github.com/shmring/shmring/cmd/internal/load"
)

// What to do with a record that meets a full ring.
const (
	wait  = "wait" // -no-consumer
	block = "block"
	fail  = "fail"
	drop  = "drop"
)

// defaultDrain is how long the input has to end after SIGTERM. With the grace behind it, it is
// less than the ten seconds that the most impatient of those who end services have.
const defaultDrain = 5 * time.Second

// What to do with a line that is longer than the ring takes. The first is the default: it
// loses nothing, and a shipper of logs must not end, again and again, over one line.
var longs = []cli.Choice[frame.Long]{
	{Word: "split", Value: frame.LongSplit},
	{Word: "cut", Value: frame.LongCut},
	{Word: "skip", Value: frame.LongSkip},
	{Word: "fail", Value: frame.LongFail},
}

type config struct {
	ring     cli.Ring
	out      cli.Out
	format   frame.Format
	long     frame.Long
	full     string
	alone    string
	timeout  time.Duration
	count    int64 // 0: no limit
	batch    int
	drain    time.Duration
	cpu      int
	noEnd    bool
	generate int64 // -1: do not
	sizes    load.Sizes
	rate     float64
	files    []string
	also     also
}

// Flags are those of the program, for its manual page.
func Flags() *cli.Flags { return new(config).flags() }

// flags makes the command line that fills in c.
func (c *config) flags() *cli.Flags {
	f := cli.NewFlags("producer", "send records into a shared memory ring", help)
	c.register(f)
	return f
}

func (c *config) register(f *cli.Flags) {
	c.sizes = load.Sizes{Min: 64, Max: 64}
	c.ring.Register(f)
	c.out.Register(f)
	f.Func("frame", c.format.Set)
	c.long = longs[0].Value
	cli.Choose(f, &c.long, "long", longs)
	f.OneOf(&c.full, "full", block, fail, drop)
	f.OneOf(&c.alone, "no-consumer", wait, fail)
	f.Func("also", c.also.set)
	f.Duration(&c.timeout, "timeout")
	cli.Int(f, &c.count, "count")
	c.batch = 1
	cli.Int(f, &c.batch, "batch")
	c.drain = defaultDrain
	f.Duration(&c.drain, "drain")
	c.cpu = -1
	cli.Int(f, &c.cpu, "cpu")
	f.Bool(&c.noEnd, "no-end")
	c.generate = -1
	cli.Int(f, &c.generate, "generate")
	f.Func("size", c.sizes.Set)
	f.Float(&c.rate, "rate")
}

func (c *config) check(f *cli.Flags) error {
	loading := f.IsSet("generate")
	switch {
	case f.IsSet("count") && c.count < 1:
		return cli.Usagef("-count %d: want 1 or more; without -count all input is sent", c.count)
	case c.batch < 1 || c.batch > maxBatch:
		return cli.Usagef("-batch %d: want 1 to %d", c.batch, maxBatch)
	case c.timeout < 0:
		return cli.Usagef("-timeout %v: want a positive duration like 5s", c.timeout)
	case c.drain < 0:
		return cli.Usagef("-drain %v: want a positive duration like 5s, or 0s to stop at once", c.drain)
	case c.rate < 0:
		return cli.Usagef("-rate %v: want messages a second; 0 is as fast as possible", c.rate)
	case loading && c.generate < 0:
		return cli.Usagef("-generate %d: want a number of messages; 0 is until interrupted", c.generate)
	case !loading && (f.IsSet("size") || f.IsSet("rate")):
		return cli.Usagef("-size and -rate are about generated messages: give -generate COUNT too")
	case loading && (f.IsSet("frame") || f.IsSet("long") || f.IsSet("count") || f.IsSet("batch") ||
		f.IsSet("drain") || len(c.files) > 0):
		return cli.Usagef("-generate takes the place of input: " +
			"give no -frame, -long, -count, -batch, -drain or files with it")
	case f.IsSet("long") && !c.format.Lines():
		return cli.Usagef("-long is about lines: with -frame %v no record may be too long for the ring", &c.format)
	case f.IsSet("cpu") && c.cpu < 0:
		return cli.Usagef("-cpu %d: want the number of a processor", c.cpu)
	}
	if err := c.checkAlso(); err != nil {
		return err
	}
	if c.ring.Unix != "" && !f.IsSet("no-consumer") {
		c.alone = fail // a consumer that comes later makes another ring
	}
	// A new ring has to take what was asked for; one that exists is asked when it is open.
	if need := c.need(); need > shmring.DefaultMaxMessage && c.ring.Options.MaxMessage == 0 {
		c.ring.Options.MaxMessage, c.ring.MaxMessageFrom = need, "-frame"
		if loading {
			c.ring.MaxMessageFrom = "-size"
		}
	}
	return c.ring.Check(f)
}

// need is the length of messages that the ring must take, as far as it is known
// before the input is read.
func (c *config) need() int {
	if c.generate >= 0 {
		return c.sizes.Max
	}
	return c.format.Chunk()
}
