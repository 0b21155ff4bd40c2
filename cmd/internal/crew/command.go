package crew

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/pin"
	"github.com/shmring/shmring/shm"
)

// Command is a subcommand of shmring that measures, step by step.
type Command struct {
	Name   string
	Child  string // the hidden subcommand beside it
	Help   string
	Report Report
	Flags  func(*cli.Flags) // adds those of its own; may be nil
	Steps  func(context.Context, *Crew) ([]Step, error)
}

// Step is one of the things it does. Nobody has a ring in the crew's directory open
// when it returns.
type Step struct {
	Name string
	Run  func(context.Context, *Crew) error
}

// Report is what a command has found; it embeds Outcome and is what -json prints.
type Report interface {
	Common() *Outcome
	Print(io.Writer) error
}

// Outcome is the part that all reports have.
type Outcome struct {
	OK      bool    `json:"ok"`
	Error   string  `json:"error,omitempty"`
	Version string  `json:"version"`
	CPUs    int     `json:"cpus"`
	Pinned  []int   `json:"pinned,omitempty"` // producer and consumer
	Seconds float64 `json:"seconds"`
}

// Common is o, of whatever report embeds it.
func (o *Outcome) Common() *Outcome { return o }

// Where tells people what was measured, and on what.
func (o *Outcome) Where() string {
	where := "not pinned"
	if o.Pinned != nil {
		where = fmt.Sprintf("producer on %d, consumer on %d", o.Pinned[0], o.Pinned[1])
	}
	return fmt.Sprintf("%s, %d processors, %s", o.Version, o.CPUs, where)
}

// Help is the part of a help text that lists the flags all commands have.
const Help = `  -quick             measure for a shorter time
  -no-pin            let the system choose the processors
  -dir DIR           where to put the rings (default $SHMRING_DIR, else /dev/shm)
  -json              print one JSON object instead of tables
  -version           print the version
`

type flags struct {
	quick, noPin, json bool
	dir                string
}

// Run is the program.
func (c *Command) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	name := "shmring " + c.Name
	var given flags
	f := cli.NewFlags(name, c.Help)
	f.BoolVar(&given.quick, "quick", false, "")
	f.BoolVar(&given.noPin, "no-pin", false, "")
	f.BoolVar(&given.json, "json", false, "")
	f.StringVar(&given.dir, "dir", "", "")
	if c.Flags != nil {
		c.Flags(f)
	}
	done, err := f.Parse(args, stdout)
	if err == nil && f.NArg() > 0 {
		err = cli.Usagef("unexpected argument %q: %s -help lists the flags", f.Arg(0), name)
	}
	if err == nil && !done {
		err = c.run(ctx, &given, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %s\n", name, cli.Oneline(err))
	}
	return cli.Code(err)
}

func (c *Command) run(ctx context.Context, given *flags, stdout, stderr io.Writer) error {
	o := c.Report.Common()
	o.Version, o.CPUs = cli.Version("shmring"), runtime.NumCPU()
	begin := time.Now()
	err := c.perform(ctx, given, stderr)
	o.Seconds = time.Since(begin).Seconds()
	o.OK = err == nil
	if given.json {
		if err != nil {
			o.Error = cli.Oneline(err)
		}
		return errors.Join(err, json.NewEncoder(stdout).Encode(c.Report))
	}
	if err != nil {
		return err
	}
	return c.Report.Print(stdout)
}

func (c *Command) perform(ctx context.Context, given *flags, stderr io.Writer) (err error) {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := c.makeDir(given.dir)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil { // nobody removed those of the step that failed, nor their semaphores
			_ = RemoveRings(dir)
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	crew := &Crew{Executable: executable, Child: c.Child, Dir: dir, Quick: given.quick, CPUs: [2]int{-1, -1}}
	if a, b, ok := pin.Apart(); ok && !given.noPin {
		crew.CPUs = [2]int{a, b}
		c.Report.Common().Pinned = crew.CPUs[:]
	}
	steps, err := c.Steps(ctx, crew)
	if err != nil {
		return err
	}
	line := cli.NewLine(stderr)
	defer line.Clear()
	for i, s := range steps {
		line.Show(fmt.Sprintf("%d / %d %s", i+1, len(steps), s.Name))
		if err := s.Run(ctx, crew); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		if err := RemoveRings(dir); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes a directory of our own for the rings, so that they meet no others and
// are easily removed.
func (c *Command) makeDir(parent string) (string, error) {
	path, err := shm.Path("any", &shm.Options{Dir: parent})
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(filepath.Dir(path), "shmring-"+c.Name+"-")
}

// RemoveRings removes the rings in a directory and what the kernel keeps for them, which
// would outlive their files. One that somebody has open stays, and is an error.
func RemoveRings(dir string) (err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, is := strings.CutSuffix(e.Name(), shm.Suffix)
		if !is {
			continue // lock files, which go with their ring
		}
		err = errors.Join(err, shmring.Remove(context.Background(), name, &shmring.AdminOptions{Dir: dir}))
	}
	return err
}
