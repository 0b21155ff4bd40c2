package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"runtime/debug"
	"strconv"
	"strings"
)

// Flags is a flag.FlagSet whose help is written by hand.
type Flags struct {
	*flag.FlagSet
	help    string
	version bool
}

// NewFlags makes the flags of a program, -version among them.
func NewFlags(name, help string) *Flags {
	f := &Flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), help: help}
	f.SetOutput(io.Discard)
	f.BoolVar(&f.version, "version", false, "")
	return f
}

// Parse returns done when the arguments asked for help or the version, which went to
// stdout. An error is a *UsageError.
func (f *Flags) Parse(args []string, stdout io.Writer) (done bool, err error) {
	switch err := f.FlagSet.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, err := io.WriteString(stdout, f.help)
		return true, err
	case err != nil:
		return false, Usagef("%v: %s -help lists the flags", err, f.Name())
	}
	if f.version {
		_, err := fmt.Fprintln(stdout, Version(f.Name()))
		return true, err
	}
	return false, nil
}

// IsSet reports whether the command line has the flag.
func (f *Flags) IsSet(name string) bool {
	found := false
	f.Visit(func(g *flag.Flag) { found = found || g.Name == name })
	return found
}

// Choice is a word on the command line and what it stands for.
type Choice[T any] struct {
	Word  string
	Value T
}

// Choose adds a flag that takes one of a few words.
func Choose[T any](f *Flags, p *T, name string, among []Choice[T]) {
	f.Func(name, "", func(s string) error {
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
	f.Func(name, "", func(s string) error {
		digits := strings.TrimRight(s, "KMG")
		shift := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30}
		n, err := strconv.ParseUint(digits, 10, 32)
		by, known := shift[s[len(digits):]]
		if err != nil || !known || n<<by > math.MaxInt {
			return errors.New("want a number of bytes like 4096, 64K or 1M")
		}
		*p = int(n << by)
		return nil
	})
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
