package workers

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

	command "github.com/urfave/cli/v3"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/internal/pin"
	"github.com/shmring/shmring/shm"
)

// Command is a subcommand of shmring that measures, step by step.
type Command struct {
	Name    string
	Summary string
	Child   string // the hidden subcommand beside it
	Help    string
	Own     bool // it has flags of its own for how long, and where; see [Lasting]
	Report  Report
	Flags   func(*cli.Flags) // adds those of its own; may be nil
	Steps   func(context.Context, *Setup) ([]Step, error)
}

// Step is one of the things it does. Nobody has a ring in the setup's directory open
// when it returns.
type Step struct {
	Name string
	Run  func(context.Context, *Setup) error
}

// Report is what a command has found; it embeds Outcome and is what -json prints.
type Report interface {
	Common() *Outcome
	Print(io.Writer) error
}

// Outcome is the part that all reports have.
type Outcome struct {
	OK       bool    `json:"ok"`
	Error    string  `json:"error,omitempty"`
	ExitCode int     `json:"exit_code"`
	Version  string  `json:"version"`
	CPUs     int     `json:"cpus"`
	Pinned   []int   `json:"pinned,omitempty"` // producers, and the consumer
	Seconds  float64 `json:"seconds"`
}

// Common is o, of whatever report embeds it.
func (o *Outcome) Common() *Outcome { return o }

// Where tells people what was measured, and on what.
func (o *Outcome) Where() string {
	where := "not pinned"
	if last := len(o.Pinned) - 1; last > 0 {
		where = fmt.Sprintf("producer on %s, consumer on %d", strings.Trim(fmt.Sprint(o.Pinned[:last]), "[]"),
			o.Pinned[last])
	}
	return fmt.Sprintf("%s, %d processors, %s", o.Version, o.CPUs, where)
}

// Help is the part of a help text that lists the flags: those of how long and where, which
// not all commands have, and those that all have.
const (
	Help    = "Flags\n" + Lasting + Common
	Lasting = `  -quick              measure for a shorter time
  -no-pin             let the system choose the processors
`
	Common = `  -dir DIR            where to put the rings (default $SHMRING_DIR, else /dev/shm)
  -json               print one JSON object instead of tables
  -version            print the version
`
)

type flags struct {
	quick, noPin, json bool
	dir                string
}

// Command makes the command.
func (c *Command) Command(args []string, stdout, stderr io.Writer) *command.Command {
	name := "shmring " + c.Name
	var given flags
	f := cli.NewFlags(name, c.Summary, c.Help)
	if !c.Own {
		f.Bool(&given.quick, "quick")
		f.Bool(&given.noPin, "no-pin")
	}
	f.Bool(&given.json, "json")
	f.String(&given.dir, "dir")
	if c.Flags != nil {
		c.Flags(f)
	}
	return f.Command(func(ctx context.Context, operands []string, usage error) int {
		if usage == nil && len(operands) > 0 {
			usage = cli.Usagef("unexpected argument %q: %s -help lists the flags", operands[0], name)
		}
		if usage != nil {
			given.json = cli.WantsJSON(args)
		}
		err := c.run(ctx, &given, usage, stdout, stderr)
		if err != nil {
			fmt.Fprintf(stderr, "%s: %s\n", name, cli.Oneline(err))
		}
		return cli.Code(err)
	})
}

// run does the work, unless the command line was wrong, and reports.
func (c *Command) run(ctx context.Context, given *flags, err error, stdout, stderr io.Writer) error {
	o := c.Report.Common()
	o.Version, o.CPUs = cli.Version("shmring"), runtime.NumCPU()
	begin := time.Now()
	if err == nil {
		err = c.perform(ctx, given, stderr)
	}
	o.Seconds = time.Since(begin).Seconds()
	o.OK = err == nil
	if given.json {
		if err != nil {
			o.Error, o.ExitCode = cli.Oneline(err), cli.Code(err)
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
	setup := &Setup{Executable: executable, Child: c.Child, Dir: dir, Quick: given.quick, CPUs: [2]int{-1, -1}}
	if a, b, ok := pin.Apart(); ok && !given.noPin && !c.Own {
		setup.CPUs = [2]int{a, b}
		c.Report.Common().Pinned = setup.CPUs[:]
	}
	steps, err := c.Steps(ctx, setup)
	if err != nil {
		return err
	}
	line := cli.NewLine(stderr)
	defer line.Clear()
	for i, s := range steps {
		line.Show(fmt.Sprintf("%d / %d %s", i+1, len(steps), s.Name))
		if err := s.Run(ctx, setup); err != nil {
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
