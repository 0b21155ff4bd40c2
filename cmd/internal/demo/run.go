package demo

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

	"github.com/cheggaaa/pb/v3"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/pin"
	"github.com/shmring/shmring/shm"
)

const help = `Usage: shmring demo [flags]

Starts producers and consumers as processes, moves messages of many sizes from one to
the other, and checks every byte and the order of all of them. Then it measures how
fast messages stream, and how long one takes there and back. It ends with OK, or says
what went wrong and ends with another code than 0. It leaves nothing behind.

  -quick     measure for a shorter time
  -no-pin    let the system choose the processors
  -dir DIR   where to put the rings (default $SHMRING_DIR, else /dev/shm)
  -json      print one JSON object instead of tables
  -version   print the version

` + cli.ExitCodes

type config struct {
	quick, noPin, json bool
	dir                string
}

// Run is the command.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var c config
	f := cli.NewFlags("shmring demo", help)
	f.BoolVar(&c.quick, "quick", false, "")
	f.BoolVar(&c.noPin, "no-pin", false, "")
	f.BoolVar(&c.json, "json", false, "")
	f.StringVar(&c.dir, "dir", "", "")
	done, err := f.Parse(args, stdout)
	if err == nil && f.NArg() > 0 {
		err = cli.Usagef("unexpected argument %q: shmring demo -help lists the flags", f.Arg(0))
	}
	if err == nil && !done {
		err = c.run(ctx, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "shmring demo: %s\n", cli.Oneline(err))
	}
	return cli.Code(err)
}

func (c *config) run(ctx context.Context, stdout, stderr io.Writer) error {
	r := &report{Version: cli.Version("shmring"), CPUs: runtime.NumCPU()}
	begin := time.Now()
	err := c.perform(ctx, stderr, r)
	r.Seconds = time.Since(begin).Seconds()
	r.OK = err == nil
	if c.json {
		if err != nil {
			r.Error = cli.Oneline(err)
		}
		return errors.Join(err, json.NewEncoder(stdout).Encode(r))
	}
	if err != nil {
		return err
	}
	return r.print(stdout)
}

func (c *config) perform(ctx context.Context, stderr io.Writer, r *report) (err error) {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := c.makeDir()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p := c.plan(r)
	steps := p.steps()
	show := newBar(stderr, len(steps))
	defer show.finish()
	for _, s := range steps {
		show.step(s.name)
		if err := s.run(ctx, crew{executable}, dir, r); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := removeRings(dir); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes a directory of our own for the rings, so that they meet no others and
// are easily removed.
func (c *config) makeDir() (string, error) {
	path, err := shm.Path("any", &shm.Options{Dir: c.dir})
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(filepath.Dir(path), "shmring-demo-")
}

func (c *config) plan(r *report) plan {
	p := plan{verify: 150 * time.Millisecond, stream: 400 * time.Millisecond, trips: 1200 * time.Millisecond, cpus: [2]int{-1, -1}}
	if c.quick {
		p.verify, p.stream, p.trips = 20*time.Millisecond, 40*time.Millisecond, 100*time.Millisecond
	}
	if a, b, ok := pin.Apart(); ok && !c.noPin {
		p.cpus = [2]int{a, b}
		r.Pinned = p.cpus[:]
	}
	return p
}

// removeRings removes the rings of a step that is over. Nobody has them open any
// more; if somebody has, that is an error of the demo.
func removeRings(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, is := strings.CutSuffix(e.Name(), shm.Suffix)
		if !is {
			continue // lock files, which go with their ring
		}
		if err := shmring.Remove(name, &shmring.Options{Dir: dir}); err != nil {
			return err
		}
	}
	return nil
}

// bar shows on a terminal how far the demo is.
type bar struct{ *pb.ProgressBar }

func newBar(w io.Writer, steps int) bar {
	if !cli.Terminal(w) {
		return bar{}
	}
	b := pb.New(steps).SetTemplateString(`{{counters .}} {{bar . "[" "=" ">" " " "]"}} {{string . "step"}}`)
	return bar{b.Set(pb.CleanOnFinish, true).SetWriter(w).SetMaxWidth(80).Start()}
}

func (b bar) step(name string) {
	if b.ProgressBar != nil {
		b.Set("step", name).Increment()
	}
}

func (b bar) finish() {
	if b.ProgressBar != nil {
		b.Finish()
	}
}
