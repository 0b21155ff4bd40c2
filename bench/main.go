package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/shmring/shmring/bench/internal/counts"
	"github.com/shmring/shmring/bench/internal/link"
	"github.com/shmring/shmring/bench/internal/machine"
	"github.com/shmring/shmring/bench/internal/report"
	"github.com/shmring/shmring/bench/internal/runner"
	"github.com/shmring/shmring/bench/internal/suite"
	"github.com/shmring/shmring/bench/internal/work"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case runner.ChildCommand:
			os.Exit(work.Child(os.Args[2:], link.Opens, suite.Specials, os.Stdin, os.Stdout, os.Stderr))
		case runner.CleanerCommand:
			os.Exit(runner.BeCleaner(os.Stdin))
		case counts.ChildCommand:
			exitIf(counts.Child(os.Args[2], os.Stdin, os.Stdout))
			return
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := run(ctx, os.Args[1:])
	stop()
	if !errors.Is(err, flag.ErrHelp) {
		exitIf(err)
	}
}

func exitIf(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// config is what the flags say.
type config struct {
	suite   suite.Settings
	json    string
	plots   string
	md      string
	pick    string
	from    string
	compare string
	gapOf   string
	peers   string
	list    bool
	noPin   bool
	counts  bool
	update  bool
	file    string
}

func (c *config) parse(args []string) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&c.suite.Quick, "quick", false, "measure what the targets need, in less than six minutes")
	f.StringVar(&c.json, "json", "", "write all that was found to this `file`")
	f.StringVar(&c.plots, "plots", "", "write plots, as SVG and PNG, into this `folder`")
	f.StringVar(&c.md, "md", "", "write the page about the run to this `file`")
	f.StringVar(&c.pick, "run", "", "measure only what matches this `regexp`: work/size/transport/place")
	f.StringVar(&c.from, "from", "", "measure nothing, take what this `file` of -json has")
	f.StringVar(&c.compare, "compare", "", "tell what is different from this `file` of -json")
	f.StringVar(&c.gapOf, "gap-of", "",
		"where all processors are near, or all far, tell which by what this `file` of -json saw of both")
	f.StringVar(&c.peers, "peers", "", "measure the programs in this `folder` as well: see PEERS.md")
	f.BoolVar(&c.list, "list", false, "list what would be measured")
	f.BoolVar(&c.noPin, "no-pin", false, "let the system choose the processors")
	f.IntVar(&c.suite.Rounds, "rounds", 0, "how many rounds (default: as many as there is time for)")
	f.Float64Var(&c.suite.Scale, "scale", 1, "make every measurement so many times longer")
	f.Uint64Var(&c.suite.Seed, "seed", uint64(time.Now().UnixNano()), "of the order of measurements")
	f.StringVar(&c.suite.Dir, "dir", "/dev/shm", "where to put the rings: a memory file system")
	f.BoolVar(&c.counts, "counts", false,
		"measure no time: count instructions, LOCKed instructions, system calls and allocations, "+
			"and compare with the file of -counts-file")
	f.BoolVar(&c.update, "update", false, "with -counts: keep what was counted")
	f.StringVar(&c.file, "counts-file", "counts.json", "the `file` of -counts")
	if err := f.Parse(args); err != nil {
		return err
	}
	c.suite.Pin = !c.noPin
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: -help lists the flags", f.Arg(0))
	}
	if c.pick != "" {
		var err error
		if c.suite.Run, err = regexp.Compile(c.pick); err != nil {
			return fmt.Errorf("-run: %w", err)
		}
	}
	return nil
}

func run(ctx context.Context, args []string) error {
	var c config
	if err := c.parse(args); err != nil {
		return err
	}
	if c.peers != "" && c.from == "" {
		var err error
		if c.suite.Peers, c.suite.BadPeers, err = runner.Peers(ctx, c.peers); err != nil {
			return err
		}
	}
	if c.list {
		for _, name := range suite.List(c.suite) {
			fmt.Println(name)
		}
		return nil
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	if c.counts {
		return count(executable, &c)
	}
	var old *report.Report
	if c.compare != "" { // before minutes of measuring
		if old, err = report.Read(c.compare); err != nil {
			return err
		}
	}
	if err = c.known(old); err != nil {
		return err
	}
	var r *report.Report
	if c.from != "" {
		if r, err = report.Read(c.from); err == nil {
			r.Judge()
		}
	} else {
		r, err = suite.Run(ctx, c.suite, executable, newBar(os.Stderr))
	}
	if err != nil {
		return err
	}
	return c.show(r, old)
}

// known takes over what an earlier run on this machine, of -gap-of or else of -compare, found
// out about near and far.
func (c *config) known(old *report.Report) error {
	from := c.compare
	if c.gapOf != "" {
		var err error
		if old, err = report.Read(c.gapOf); err != nil {
			return err
		}
		if from = c.gapOf; old.Placements.Gap == nil {
			return fmt.Errorf("-gap-of %s: that run saw one placement only", c.gapOf)
		}
	}
	if old != nil && (c.gapOf != "" || old.Machine.Model == machine.Describe().Model) {
		c.suite.Known, c.suite.KnownFrom = old.Placements.Gap, from
	}
	return nil
}

// show writes what was asked for.
func (c *config) show(r, old *report.Report) error {
	var errs []error
	if c.json != "" {
		errs = append(errs, r.Write(c.json))
	}
	if c.plots != "" {
		errs = append(errs, r.Plot(c.plots))
	}
	if c.md != "" {
		errs = append(errs, r.Page(c.md, c.plots))
	}
	fmt.Print(report.Summary(r))
	if old != nil {
		fmt.Printf("\n%s", report.CompareText(old, r))
	}
	return errors.Join(errs...)
}

func count(executable string, c *config) error {
	dir, err := os.MkdirTemp(c.suite.Dir, "shmring-bench-counts-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	said, err := counts.Gate(executable, dir, c.file, c.update)
	fmt.Print(said)
	return err
}
