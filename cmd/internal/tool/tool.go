// Package tool is the program shmring: a table of subcommands.
package tool

import (
	"context"
	"fmt"
	"io"

	command "github.com/urfave/cli/v3"

	"github.com/shmring/shmring/cmd/internal/bench"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/demo"
	"github.com/shmring/shmring/cmd/internal/proxy"
	"github.com/shmring/shmring/cmd/internal/wait"
)

const summary = "show, measure and look after shared memory rings"

// Help is that of the program itself.
const Help = `Usage: shmring COMMAND [flags]

Shows and measures shared memory rings on this machine, and looks after those that no
process uses.

Commands
  demo          show that it works here, and how fast
  bench         measure how fast messages go here, beside a socket
  wait          measure what each way of waiting costs here
  ls, list      list the rings, and what is the matter with each
  inspect       show who is attached, what is queued, and what is the matter
  top           show the rings again and again: rates, how full, what is the matter
  tap           print the messages of a ring as they are sent
  hz            measure them: rate, sizes, gaps
  record        write them to a file
  replay        send what was recorded into a ring
  serve         serve a page with charts, and metrics for Prometheus
  check         check the file of a ring
  doctor        try what rings need of this machine, and say what they will do
  gc            show or remove what is of no use to anybody any more
  purge         throw away the messages that wait in a ring
  events        print what has happened to a ring
  recover       free what the dead hold of a ring that nobody uses
  remove, rm    remove a ring that nobody uses
  resize        make a ring that nobody uses larger or smaller
  force-skip    pass over the claim of a producer that is stuck
  relay         take rings from host to host over NATS JetStream: a program of its own,
                shmring-relay
  proxy         forward connections between sockets and shared memory
  help COMMAND  its flags
  version       which build this is
  completion    completion for a shell: bash, zsh, fish or pwsh

Examples
  shmring demo -quick
  shmring doctor
  shmring ls
  shmring inspect jobs
  shmring help wait
`

// Run is the program.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// The processes that measure are not for people, and have no flags.
	if len(args) > 0 {
		switch args[0] {
		case demo.ChildCommand:
			return demo.RunChild(ctx, args[1:], stdin, stdout, stderr)
		case bench.ChildCommand:
			return bench.RunChild(ctx, args[1:], stdin, stdout, stderr)
		case wait.ChildCommand:
			return wait.RunChild(ctx, args[1:], stdin, stdout, stderr)
		case "relay":
			return relay(args[1:], stderr)
		case "help":
			if len(args) == 2 && args[1] == "relay" {
				return relay([]string{"-help"}, stderr)
			}
		}
	}
	root := program(args, stdout, stderr)
	return cli.Execute(ctx, root, args, stdout, stderr)
}

func program(args []string, stdout, stderr io.Writer) *command.Command {
	f := cli.NewFlags("shmring", summary, Help)
	root := f.Command(func(_ context.Context, operands []string, usage error) int {
		switch {
		case usage != nil:
			fmt.Fprintf(stderr, "shmring: %s\n", cli.Oneline(usage))
		case len(operands) == 0:
			fmt.Fprint(stderr, Help)
		case operands[0] == "version":
			fmt.Fprintln(stdout, cli.Version("shmring"))
			return cli.OK
		default:
			fmt.Fprintf(stderr, "shmring: unknown command %q: shmring help lists them\n", operands[0])
		}
		return cli.Usage
	})
	root.HideHelpCommand = false
	root.Commands = []*command.Command{demo.Command(args, stdout, stderr), bench.Command(args, stdout, stderr),
		wait.Command(args, stdout, stderr), proxy.Command(args, stdout, stderr)}
	for _, r := range repairs {
		root.Commands = append(root.Commands, r.command(args, stdout, stderr))
	}
	return root
}
