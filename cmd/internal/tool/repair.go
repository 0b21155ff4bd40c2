package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	command "github.com/urfave/cli/v3"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

const recoverHelp = `Usage: shmring recover [flags] NAME

Puts the ring in order after crashes, if no process has it open: frees the places of
the dead and gives up what they had claimed and not committed. Messages that wait for
a consumer stay. Nobody needs to do this: whoever opens the ring next does it step by
step. It shows what was left. A ring that is open somewhere is left alone (code 7); one
that is corrupt cannot be repaired (code 4), only removed.
`

const removeHelp = `Usage: shmring remove [flags] NAME

Removes the ring and all that is in it, if no process has it open (else code 7).
`

const eventsHelp = `Usage: shmring events [flags] NAME

Prints the last events in the life of the ring, 128 at most: when it was created, who
attached, left, died and was found dead by whom, and what was done by hand. It changes
nothing, and the ring may be in use. With -json it is a list of objects.
`

const ownerFlag = `  -any-owner
             accept a ring of somebody other than you and root, whom that trusts
`

const repairFlags = `  -dir DIR   where the ring is (default $SHMRING_DIR, else /dev/shm)
  -json      print what was done, or the error, as a JSON object
  -version   print the version

` + cli.ExitCodes + `
Examples
`

// action does what a command is for, and describes it for programs and for people.
type action func(ctx context.Context, args []string, o *shmring.AdminOptions) (report any, text string, err error)

// streaming is an action that prints by itself.
type streaming func(ctx context.Context, args []string, o *shmring.AdminOptions, asJSON bool, stdout io.Writer) error

// repair is what these commands have in common.
type repair struct {
	name, summary, help string
	alias               string // what people may call it too, or ""
	flags               string // of its own, as the help has them
	examples            string
	arguments           int
	do                  func(f *cli.Flags) action
	stream              func(f *cli.Flags) streaming // in the place of do
	observe             func(f *cli.Flags) observing // likewise
	optional            int                          // so many arguments more are allowed
	opens               bool                         // it opens the ring, and trusts its owner
}

var repairs = []repair{
	{name: "ls", alias: "list", summary: "list the rings, and what is the matter with each", help: lsHelp, flags: lsFlags,
		examples: "\n-for 1s /run/app", do: listRings, optional: 1},
	{name: "inspect", summary: "show who is attached, what is queued, and what is the matter", help: inspectHelp,
		flags: inspectFlags, examples: "jobs\n-watch -json jobs", arguments: 1, stream: inspectRing},
	{name: "top", summary: "show the rings again and again", help: topHelp, flags: topFlags,
		examples: "\n-for 200ms /run/app", stream: showTop, optional: 1},
	{name: "serve", summary: "serve a page with charts, and metrics for Prometheus", help: serveHelp, flags: serveFlags,
		examples: "\n-listen 127.0.0.1:0 -json /run/app", stream: serve, optional: 1},
	{name: "check", summary: "check the file of a ring", help: checkHelp, examples: "/dev/shm/jobs.shmring", arguments: 1,
		do: plain(checkFile)},
	{name: "doctor", summary: "try what rings need of this machine, and say what they will do", help: doctorHelp,
		do: examine},
	{name: "gc", summary: "show or remove what is of no use to anybody any more", help: gcHelp, flags: gcFlags,
		examples: "\n-unused -remove", do: collect, optional: 1},
	{name: "purge", summary: "throw away the messages that wait in a ring", help: purgeHelp, examples: "jobs",
		arguments: 1, do: plain(purge), opens: true},
	{name: "events", summary: "print what has happened to a ring", help: eventsHelp, examples: "jobs", arguments: 1,
		do: plain(listEvents), opens: true},
	{name: "recover", summary: "free what the dead hold of a ring that nobody uses", help: recoverHelp, examples: "jobs",
		arguments: 1, do: plain(recoverRing), opens: true},
	{name: "remove", alias: "rm", summary: "remove a ring that nobody uses", help: removeHelp, examples: "jobs",
		arguments: 1, do: plain(removeRing)},
	{name: "resize", summary: "make a ring that nobody uses larger or smaller", help: resizeHelp, flags: resizeFlags,
		examples: "-slots 16384 jobs\n-slot-size 1K -max-message 1M jobs", arguments: 1, do: resizeRing, opens: true},
	{name: "tap", summary: "print the messages of a ring as they are sent", help: tapHelp, flags: tapFlags,
		examples: "jobs\n-from oldest -count 10 -hex jobs\n-json -kind 1,2 jobs", arguments: 1, observe: tap, opens: true},
	{name: "hz", summary: "measure the messages of a ring: rate, sizes, gaps", help: hzHelp, flags: hzFlags,
		examples: "jobs\n-every 100ms -count 50 -json jobs", arguments: 1, observe: hz, opens: true},
	{name: "record", summary: "write the messages of a ring to a file as they are sent", help: recordHelp,
		flags: recordFlags, examples: "jobs jobs.rec\n-append -rotate-size 64M -keep 10 jobs /var/log/jobs.rec", arguments: 2,
		observe: record, opens: true},
	{name: "replay", summary: "send what was recorded into a ring", help: replayHelp, flags: replayFlags,
		examples: "jobs.rec copy\n-speed recorded jobs.rec copy", arguments: 2, observe: replay, opens: true},
	{name: "force-skip", summary: "pass over the claim of a producer that is stuck", help: forceSkipHelp,
		flags: forceSkipFlags, examples: "jobs\n-yes jobs\njobs 4096", arguments: 1, optional: 1, do: forceSkip, opens: true},
}

// plain is what a command does that has no flags of its own.
func plain(do action) func(*cli.Flags) action { return func(*cli.Flags) action { return do } }

func (r repair) text() string {
	text := r.help + "\nFlags\n" + r.flags
	if r.opens {
		text += ownerFlag
	}
	text += repairFlags
	for example := range strings.SplitSeq(r.examples, "\n") {
		text += "  " + strings.TrimSpace("shmring "+r.name+" "+example) + "\n"
	}
	return text
}

func (r repair) command(args []string, stdout, stderr io.Writer) *command.Command {
	var o shmring.AdminOptions
	asJSON := false
	f := cli.NewFlags("shmring "+r.name, r.summary, r.text())
	f.String(&o.Dir, "dir")
	f.Bool(&asJSON, "json")
	if r.opens {
		f.Bool(&o.AnyOwner, "any-owner")
	}
	perform := r.performer(f, stderr)
	c := f.Command(func(ctx context.Context, operands []string, err error) int {
		if err != nil {
			asJSON = cli.WantsJSON(args)
		} else if extra := len(operands) - r.arguments; extra < 0 || extra > r.optional {
			want := fmt.Sprint(r.arguments)
			if r.optional > 0 {
				want = fmt.Sprintf("%d to %d", r.arguments, r.arguments+r.optional)
			}
			err = cli.Usagef("%d arguments, want %s: shmring %s -help shows them", len(operands), want, r.name)
		} else {
			err = perform(ctx, operands, &o, asJSON, stdout)
		}
		if err == nil {
			return cli.OK
		}
		code := cli.Code(err)
		if readerGone(err) {
			return code
		}
		fmt.Fprintf(stderr, "shmring %s: %s\n", r.name, cli.Oneline(err))
		if _, is := errors.AsType[*told](err); asJSON && !is {
			_ = json.NewEncoder(stdout).Encode(cli.FailureOf(err)) // the exit code tells as well
		}
		return code
	})
	if r.alias != "" {
		c.Aliases = []string{r.alias}
	}
	return c
}

// readerGone tells that whoever read the output has seen enough, as head has after ten lines: nothing is wrong then
// that anybody needs to be told of, and the exit code says that not all was printed.
func readerGone(err error) bool { return errors.Is(err, syscall.EPIPE) }

// performer adds the flags of its own, and returns what the command does.
func (r repair) performer(f *cli.Flags, stderr io.Writer) streaming {
	if r.observe != nil {
		do := r.observe(f)
		return func(ctx context.Context, args []string, o *shmring.AdminOptions, asJSON bool, stdout io.Writer) error {
			return do(ctx, args, o, output{asJSON, stdout, stderr, r.name})
		}
	}
	if r.stream != nil {
		return r.stream(f)
	}
	return r.do(f).perform
}

func (do action) perform(
	ctx context.Context, args []string, o *shmring.AdminOptions, asJSON bool, stdout io.Writer) error {
	report, text, err := do(ctx, args, o)
	is, inReport := errors.AsType[*told](err)
	if err != nil && !inReport {
		return err
	}
	var printed error
	if asJSON {
		printed = json.NewEncoder(stdout).Encode(report)
	} else {
		_, printed = io.WriteString(stdout, text)
	}
	if inReport {
		return is
	}
	return printed
}

func listEvents(ctx context.Context, args []string, o *shmring.AdminOptions) (any, string, error) {
	events, err := shmring.Events(ctx, args[0], o)
	var text strings.Builder
	for _, e := range events {
		fmt.Fprintf(&text, "%s  %v\n", e.Time.Format("2006-01-02 15:04:05.000000"), e)
	}
	return events, text.String(), err
}

func recoverRing(ctx context.Context, args []string, o *shmring.AdminOptions) (any, string, error) {
	r, err := shmring.Recover(ctx, args[0], o)
	text := tellDead(r.Dead)
	text += fmt.Sprintf("%s: %d unfinished claims given up, %d slots wait for a consumer\n", r.Path, r.Skipped, r.Used)
	return r, text, err
}

func tellDead(dead []shmring.DeadPeer) (text string) {
	for _, d := range dead {
		text += fmt.Sprintf("%v (pid %d) had died without leaving\n", d.Role, d.PID)
	}
	return text
}

func removeRing(ctx context.Context, args []string, o *shmring.AdminOptions) (any, string, error) {
	err := shmring.Remove(ctx, args[0], o)
	return struct {
		Removed string `json:"removed"`
	}{args[0]}, "removed " + args[0] + "\n", err
}
