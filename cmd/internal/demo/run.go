package demo

import (
	"context"
	"io"

	command "github.com/urfave/cli/v3"

	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/workers"
)

// Summary is the command in one line.
const Summary = "show that it works here, and how fast"

// Help is the command's.
const Help = `Usage: shmring demo [flags]

Starts producers and consumers as processes, moves messages of many sizes from one to
the other, and checks every byte and the order of all of them. Then it measures how
fast messages stream, and how long one takes there and back. It ends with OK, or says
what went wrong and ends with another code than 0. It leaves nothing behind.

` + workers.Help + `
` + cli.ExitCodes + `
Examples
  shmring demo
  shmring demo -quick -json
`

// Command makes the command.
func Command(args []string, stdout, stderr io.Writer) *command.Command {
	r := &report{}
	c := workers.Command{Name: "demo", Summary: Summary, Child: ChildCommand,
		Help: Help, Report: r,
		Steps: func(_ context.Context, s *workers.Setup) ([]workers.Step, error) { return newPlan(s).steps(r), nil },
	}
	return c.Command(args, stdout, stderr)
}
