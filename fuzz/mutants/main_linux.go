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

	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/mutants"
)

func main() {
	h := &mutants.Harness{Patience: labs.PatienceEnv, Memory: labs.Memory()}
	lab := flag.String("lab", "", "only exams of this laboratory; test: only tests")
	mode := flag.String("mode", "", "only exams of this mode, or of tests of this package")
	flag.Uint64Var(&h.Seed, "seed", 1, "what chance begins with")
	flag.BoolVar(&h.JSON, "json", false, "print one JSON object on stdout")
	port := flag.Bool("port", false, "tell which patches do not apply to the source tree, and why")
	write := flag.Bool("w", false, "with -port: rewrite those that git can merge")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if *port {
		os.Exit(move(ctx, *lab, *mode, flag.Args(), *write))
	}
	os.Exit(h.Run(ctx, *lab, *mode, flag.Args(), os.Stdout, os.Stderr))
}

// move ports the patches and returns the exit status.
func move(ctx context.Context, lab, mode string, names []string, write bool) int {
	remain := 0
	root, err := mutants.Root(ctx, "")
	if err == nil {
		var all []mutants.Mutant
		if all, err = mutants.Load(root); err == nil {
			remain, err = mutants.Port(root, mutants.Select(all, lab, mode, names), write, os.Stdout)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "mutants: %v\n", err)
		return 1
	}
	return min(remain, 1)
}
