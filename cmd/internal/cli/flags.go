package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	command "github.com/urfave/cli/v3"

	"github.com/shmring/shmring/cmd/internal/quantity"
)

// Flags are the flags of a program, or of one of its commands, and the help text that
// describes them.
type Flags struct {
	Name    string // as people call it: "shmring demo"
	Summary string // one line
	Help    string
	all     []*option
	version bool
}

// NewFlags makes the flags of a program, -version among them.
func NewFlags(name, summary, help string) *Flags {
	f := &Flags{Name: name, Summary: summary, Help: help}
	f.Bool(&f.version, "version")
	return f
}

// option is one flag. It implements the interfaces of the command-line library.
type option struct {
	name, usage string
	set         func(string) error
	isBool      bool
	given       bool
}

func (o *option) Set(_, value string) error { o.given = true; return o.set(value) }
func (o *option) String() string            { return "-" + o.name }
func (o *option) Names() []string           { return []string{o.name} }
func (o *option) Get() any                  { return nil }
func (o *option) PreParse() error           { return nil }
func (o *option) PostParse() error          { return nil }
func (o *option) IsSet() bool               { return o.given }
func (o *option) IsBoolFlag() bool          { return o.isBool }
func (o *option) IsLocal() bool             { return true }

// What the library shows of a flag where it completes a command line.
func (o *option) IsVisible() bool                 { return true }
func (o *option) TakesValue() bool                { return !o.isBool }
func (o *option) GetUsage() string                { return o.usage }
func (o *option) GetValue() string                { return "" }
func (o *option) GetDefaultText() string          { return "" }
func (o *option) IsDefaultVisible() bool          { return false }
func (o *option) GetEnvVars() []string            { return nil }
func (o *option) TypeName() string                { return "" }
func (o *option) IsMultiValueFlag() bool          { return false }
func (o *option) SchemaType() string              { return "string" }
func (o *option) SchemaItemsType() string         { return "" }
func (o *option) RunAction(context.Context) error { return nil }

// Func adds a flag that calls set with its value.
func (f *Flags) Func(name string, set func(string) error) {
	f.all = append(f.all, &option{name: name, usage: usageOf(f.Help, name), set: set})
}

// usageOf is the first line of what a help text says of a flag.
func usageOf(help, name string) string {
	found := regexp.MustCompile(`(?m)^  -` + regexp.QuoteMeta(name) + `((?: \S+)?)\s\s+(.*)$`).FindStringSubmatch(help)
	if found == nil {
		return ""
	}
	return strings.TrimSpace(found[1] + " " + found[2])
}

// Bool adds a flag without a value.
func (f *Flags) Bool(p *bool, name string) {
	f.Func(name, func(s string) (err error) {
		if *p, err = strconv.ParseBool(s); err != nil {
			return errors.New("want true or false, or no value")
		}
		return nil
	})
	f.all[len(f.all)-1].isBool = true
}

// String adds a flag that takes any text.
func (f *Flags) String(p *string, name string) {
	f.Func(name, func(s string) error { *p = s; return nil })
}

// Int adds a flag that takes a whole number.
func Int[T int | int64](f *Flags, p *T, name string) {
	f.Func(name, func(s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || int64(T(n)) != n {
			return errors.New("want a whole number, in digits, like 8192")
		}
		*p = T(n)
		return nil
	})
}

// Float adds a flag that takes a number.
func (f *Flags) Float(p *float64, name string) {
	f.Func(name, func(s string) error {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			return errors.New("want a number like 1000 or 0.5")
		}
		*p = n
		return nil
	})
}

// Duration adds a flag that takes a time with its unit.
func (f *Flags) Duration(p *time.Duration, name string) {
	f.Func(name, func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil {
			return errors.New("want a number with a unit, like 5s, 200ms or 50us")
		}
		*p = d
		return nil
	})
}

// Choice is a word on the command line and what it stands for.
type Choice[T any] struct {
	Word  string
	Value T
}

// Choose adds a flag that takes one of a few words.
func Choose[T any](f *Flags, p *T, name string, among []Choice[T]) {
	f.Func(name, func(s string) error {
		var words []string
		for _, c := range among {
			if s == c.Word {
				*p = c.Value
				return nil
			}
			words = append(words, c.Word)
		}
		last := len(words) - 1
		return errors.New("want " + strings.Join(words[:last], ", ") + " or " + words[last])
	})
}

// OneOf adds a flag that takes one of a few words, the first if it is not given.
func (f *Flags) OneOf(p *string, name string, words ...string) {
	*p = words[0]
	var among []Choice[string]
	for _, w := range words {
		among = append(among, Choice[string]{w, w})
	}
	Choose(f, p, name, among)
}

// Bytes adds a flag that takes a number of bytes, as 4096, 64K, 1M or 2G.
func (f *Flags) Bytes(p *int, name string) {
	f.Func(name, func(s string) error {
		n, err := quantity.Bytes(s)
		if err == nil {
			*p = n
		}
		return err
	})
}

// IsSet reports whether the command line has the flag.
func (f *Flags) IsSet(name string) bool {
	return slices.ContainsFunc(f.all, func(o *option) bool { return o.name == name && o.given })
}

// Names lists the flags.
func (f *Flags) Names() (names []string) {
	for _, o := range f.all {
		names = append(names, o.name)
	}
	return names
}

// exitCode carries the exit code through the command-line library.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func exit(code int) error {
	if code == OK {
		return nil
	}
	return exitCode(code)
}

// Action is what a command does, and its exit code. If the command line cannot be
// understood, usage is the *UsageError to be told.
type Action func(ctx context.Context, operands []string, usage error) int

// Command makes the command that these flags belong to. What it is asked for help or the
// version for does not reach act.
func (f *Flags) Command(act Action) *command.Command {
	words := strings.Fields(f.Name)
	c := &command.Command{
		Name: words[len(words)-1], Usage: f.Summary, HideHelpCommand: true, HideVersion: true,
		CustomHelpTemplate: f.Help, CustomRootCommandHelpTemplate: f.Help,
		ExitErrHandler: func(context.Context, *command.Command, error) {},
		OnUsageError: func(ctx context.Context, _ *command.Command, err error, _ bool) error {
			return exit(act(ctx, nil, Usagef("%v: %s -help lists the flags", err, f.Name)))
		},
		Action: func(ctx context.Context, c *command.Command) error {
			if f.version {
				_, err := fmt.Fprintln(c.Root().Writer, Version(f.Name))
				return err
			}
			return exit(act(ctx, c.Args().Slice(), nil))
		},
	}
	for _, o := range f.all {
		c.Flags = append(c.Flags, o)
	}
	return c
}

// Execute runs a command with a program's arguments and returns its exit code.
func Execute(ctx context.Context, c *command.Command, args []string, stdout, stderr io.Writer) int {
	c.EnableShellCompletion, c.Writer, c.ErrWriter = completes(c, args), stdout, stderr
	err := c.Run(ctx, append([]string{c.Name}, args...))
	var code exitCode
	var library command.ExitCoder
	switch {
	case err == nil:
		return OK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &library): // it was asked for help, or completion, of something that is not there
		err = Usagef("%v: %s -help lists what there is", err, c.Name)
	}
	fmt.Fprintf(stderr, "%s: %s\n", c.Name, Oneline(err))
	return Code(err)
}

// completes reports whether the command line may be one about shell completion. The library
// takes the word for a command wherever it stands, and would not send a file of that name.
func completes(c *command.Command, args []string) bool {
	const word, request = "completion", "--generate-shell-completion"
	n := len(args)
	return len(c.Commands) > 0 || n > 0 && (args[0] == word || args[n-1] == request)
}

// WantsJSON reports whether a command line that cannot be understood asks for JSON.
func WantsJSON(args []string) bool {
	return slices.ContainsFunc(args, func(s string) bool { return s == "-json" || s == "--json" || s == "-json=true" })
}

// Version describes this build.
func Version(name string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return name + " (no build information)"
	}
	version, revision := info.Main.Version, ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = ", revision " + s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			revision += " and changes"
		}
	}
	return fmt.Sprintf("%s %s (%s%s)", name, version, info.GoVersion, revision)
}
