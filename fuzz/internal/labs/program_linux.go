package labs

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/shm"
)

// ChildEnv is set for a child: what it is to do. PatienceEnv: see Patience.
const (
	ChildEnv    = "SHMRING_LAB_CHILD"
	PatienceEnv = "SHMRING_LAB_PATIENCE"
)

// Program is a laboratory.
type Program struct {
	Name  string
	Title string // of the modes in the usage
	Modes []Mode
	// Default is the mode without -mode. Empty: there has to be one.
	Default string
	// Flags adds flags of the laboratory's own, and Check looks at their values. May be nil.
	Flags func(*flag.FlagSet)
	Check func() error
	// Experiment carries out a mode: which of Modes.
	Experiment func(ctx context.Context, mode int, o Options) Report
	Child      func(text string) error // main of a child
}

// Mode is one experiment.
type Mode struct{ Name, Summary string }

// Options are the flags that all laboratories have.
type Options struct {
	Seed  uint64 // never 0
	Short bool
}

// Times is how often an experiment is done: as often as was asked for, or, for 0, what is usual.
func (o Options) Times(asked, full, short int) int {
	switch {
	case asked > 0:
		return asked
	case o.Short:
		return short
	}
	return full
}

// Report is what an experiment found.
type Report interface {
	Well() bool
	Print(w io.Writer)
}

// IfChild does what a laboratory wants from its child, and ends the process, if this is one. Programs
// and tests of laboratories begin with it.
func IfChild(child func(text string) error) {
	text := os.Getenv(ChildEnv)
	if text == "" {
		return
	}
	if err := child(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Main does what the command line says, or what the laboratory wants from its child, and
// does not return.
func (p *Program) Main() {
	IfChild(p.Child)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends it at once
	}()
	os.Exit(p.Run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Run is Main of a laboratory, not of a child, and returns the exit status.
func (p *Program) Run(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	var o Options
	f := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	f.SetOutput(stderr)
	mode := f.String("mode", p.Default, "which experiment; all: every one after the other")
	f.Uint64Var(&o.Seed, "seed", 0, "what chance begins with (default: anything)")
	f.BoolVar(&o.Short, "short", false, "the short version of everything")
	asJSON := f.Bool("json", false, "print one JSON object per mode on stdout")
	if p.Flags != nil {
		p.Flags(f)
	}
	f.Usage = func() { p.usage(f, stderr) }
	if err := f.Parse(arguments); err != nil {
		if err == flag.ErrHelp {
			return 0
		}
		return 2
	}
	fail := func(format string, a ...any) int {
		fmt.Fprintf(stderr, p.Name+": "+format+"\n", a...)
		return 2
	}
	if f.NArg() > 0 {
		return fail("unexpected argument %q", f.Arg(0))
	}
	if p.Check != nil {
		if err := p.Check(); err != nil {
			return fail("%v", err)
		}
	}
	chosen := p.chosen(*mode)
	if len(chosen) == 0 {
		return fail("-mode %q: want %s or all", *mode, strings.Join(p.Names(), ", "))
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()>>1 | 1
	}
	status := 0
	for _, i := range chosen {
		r := p.Experiment(ctx, i, o)
		if *asJSON {
			_ = json.NewEncoder(stdout).Encode(r)
			r.Print(stderr)
		} else {
			r.Print(stdout)
		}
		if !r.Well() {
			status = 1
		}
		if ctx.Err() != nil {
			return 1
		}
	}
	return status
}

func (p *Program) usage(f *flag.FlagSet, w io.Writer) {
	fmt.Fprintf(w, "Usage: %s -mode MODE [flags]\n\n%s\n", p.Name, p.Title)
	for _, m := range p.Modes {
		fmt.Fprintf(w, "  %-12s %s\n", m.Name, m.Summary)
	}
	fmt.Fprint(w, "\nFlags\n")
	f.PrintDefaults()
}

// Names are those of the modes.
func (p *Program) Names() []string {
	var list []string
	for _, m := range p.Modes {
		list = append(list, m.Name)
	}
	return list
}

func (p *Program) chosen(mode string) (list []int) {
	for i, m := range p.Modes {
		if mode == m.Name || mode == "all" {
			list = append(list, i)
		}
	}
	return list
}

// Patience is how long anything may take that must happen at all. It is no measure of
// speed: a machine may be busy. The mutant harness, whose programs are often stuck, sets
// a shorter one.
var Patience = patience()

func patience() time.Duration {
	if d, err := time.ParseDuration(os.Getenv(PatienceEnv)); err == nil && d > 0 {
		return d
	}
	return 10 * time.Second
}

// Memory is the directory on whose file system rings are made: the one where the library
// makes them.
func Memory() string { return cmp.Or(os.Getenv(shm.EnvDir), shm.DefaultDir) }
