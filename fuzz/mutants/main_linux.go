// Command mutants applies the patches of this folder to copies of the source files, one at
// a time, and shows which mode of a laboratory, or which test, notices the defect. The
// format of a patch is described in fuzz/internal/mutants.
//
//	go run ./fuzz/mutants                        every mutant and every exam: an hour
//	go run ./fuzz/mutants -mode cycles           exams of one mode; -lab: of one laboratory
//	go run ./fuzz/mutants no-wake no-notification        some mutants
//	go run ./fuzz/mutants -port                  which patches do not apply any more, and why
//	go run ./fuzz/mutants -port -w               rewrites those that git can merge with HEAD
//
// Exit status: 0 if every exam noticed its mutant, or every patch applies; 1 if not; 2 for
// wrong usage.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/fuzz/internal/mutants"
)

func main() {
	lab := flag.String("lab", "", "only exams of this laboratory; test: only tests")
	mode := flag.String("mode", "", "only exams of this mode, or of tests of this package")
	seed := flag.Uint64("seed", 1, "what chance begins with")
	port := flag.Bool("port", false, "tell which patches do not apply to the source tree, and why")
	write := flag.Bool("w", false, "with -port: rewrite those that git can merge")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	root, err := mutants.Root(ctx)
	var all []mutants.Mutant
	if err == nil {
		all, err = mutants.Load(root)
	}
	chosen := mutants.Select(all, *lab, *mode, flag.Args())
	switch {
	case err != nil:
	case len(chosen) == 0:
		err = fmt.Errorf("none for %q, -mode %q and the names %q", *lab, *mode, flag.Args())
	case *port:
		err = mutants.Port(root, chosen, *write, os.Stdout)
	default:
		err = mutants.Run(ctx, root, chosen, *seed, os.Stdout)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "mutants: %v\n", err)
		os.Exit(1)
	}
}
