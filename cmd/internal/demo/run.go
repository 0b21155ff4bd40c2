package demo

import (
	"context"
	"io"

	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/crew"
)

const help = `Usage: shmring demo [flags]

Starts producers and consumers as processes, moves messages of many sizes from one to
the other, and checks every byte and the order of all of them. Then it measures how
fast messages stream, and how long one takes there and back. It ends with OK, or says
what went wrong and ends with another code than 0. It leaves nothing behind.

` + crew.Help + `
` + cli.ExitCodes

// Run is the command.
func Run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	r := &report{}
	c := crew.Command{Name: "demo", Child: ChildCommand, Help: help, Report: r,
		Steps: func(_ context.Context, c *crew.Crew) ([]crew.Step, error) { return newPlan(c).steps(r), nil },
	}
	return c.Run(ctx, args, stdout, stderr)
}
