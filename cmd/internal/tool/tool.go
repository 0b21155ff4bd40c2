// Package tool is the program shmring: a table of subcommands.
package tool

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/demo"
	"github.com/shmring/shmring/cmd/internal/wait"
)

type command struct {
	name    string
	summary string // empty: not listed
	run     cli.Program
}

var commands = []command{
	{"demo", "show that it works here, and how fast", demo.Run},
	{"wait", "measure what each way of waiting costs here", wait.Run},
	{"recover", "free what the dead hold of a ring that nobody uses", repair{"recover", recoverHelp, 1, recoverRing}.run},
	{"remove", "remove a ring that nobody uses", repair{"remove", removeHelp, 1, removeRing}.run},
	{"force-skip", "pass over the claim of a producer that is stuck", repair{"force-skip", forceSkipHelp, 2, forceSkip}.run},
	{demo.ChildCommand, "", demo.RunChild},
	{wait.ChildCommand, "", wait.RunChild},
}

func find(name string) *command {
	for i := range commands {
		if commands[i].name == name {
			return &commands[i]
		}
	}
	return nil
}

// Run is the program.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return cli.Usage
	}
	switch name, rest := args[0], args[1:]; name {
	case "help", "-h", "-help", "--help":
		if len(rest) == 0 {
			usage(stdout)
			return cli.OK
		}
		return call(ctx, rest[0], []string{"-help"}, stdin, stdout, stderr)
	case "version", "-version", "--version":
		fmt.Fprintln(stdout, cli.Version("shmring"))
		return cli.OK
	default:
		return call(ctx, name, rest, stdin, stdout, stderr)
	}
}

func call(ctx context.Context, name string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := find(name)
	if c == nil {
		fmt.Fprintf(stderr, "shmring: unknown command %q: shmring help lists them\n", name)
		return cli.Usage
	}
	return c.run(ctx, args, stdin, stdout, stderr)
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Usage: shmring COMMAND [flags]\n\nCommands\n")
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, c := range commands {
		if c.summary != "" {
			fmt.Fprintf(t, "  %s\t%s\n", c.name, c.summary)
		}
	}
	fmt.Fprint(t, "  help COMMAND\tits flags\n  version\twhich build this is\n")
	t.Flush()
}
