package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/mattn/go-isatty"
)

// Out is what a program says beside its data: everything goes to stderr. With -json
// that is one object at the end and nothing else.
type Out struct {
	Name        string
	JSON, Quiet bool
	W           io.Writer
}

// OutHelp is the part of a help text that lists its flags.
const OutHelp = `  -json               end with one JSON object on stderr; say nothing else there
  -quiet              no summary, no progress; errors only
  -version            print the version
`

// Register adds the flags.
func (o *Out) Register(f *Flags) {
	f.Bool(&o.JSON, "json")
	f.Bool(&o.Quiet, "quiet")
}

// Terminal reports whether w is one.
func Terminal(w any) bool {
	f, ok := w.(interface{ Fd() uintptr })
	return ok && isatty.IsTerminal(f.Fd())
}

// Notice says something that the user should know now.
func (o *Out) Notice(format string, args ...any) {
	if o.JSON {
		return
	}
	clear := ""
	if Terminal(o.W) {
		clear = clearLine // a progress line may stand there
	}
	fmt.Fprintf(o.W, clear+o.Name+": "+format+"\n", args...)
}

// Remark says something that is good to know, unless -quiet.
func (o *Out) Remark(format string, args ...any) {
	if !o.Quiet {
		o.Notice(format, args...)
	}
}

// Finish says how the run ended and returns its exit code.
func (o *Out) Finish(t *Totals, err error) int {
	code := Code(err)
	t.ExitCode = code
	if err != nil {
		t.Error = Oneline(err)
	}
	if o.JSON {
		if e := json.NewEncoder(o.W).Encode(t); e != nil {
			return max(code, Failed)
		}
		return code
	}
	if t.opened || err == nil {
		o.Remark("%s", t)
	}
	if err != nil {
		o.Notice("%s", t.Error)
	}
	return code
}
