package tool

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/shm"
)

const doctorHelp = `Usage: shmring doctor [flags]

Tries on this machine, as this user, what the library needs, and says what it will do here
and why: where rings live and how much fits, how they are made, the kinds of locks and
doorbells that work, what bounds a waiting process, and what may take rings away. It makes
a small ring in the directory, sends a message through it, and removes it.

Each line is ok, note (good to know), warning (something will be slower, or may get lost),
or problem: then rings do not work here, and the code is 1.
`

// finding is what doctor says of one thing.
type finding struct {
	Name     string           `json:"name"`
	Severity shmring.Severity `json:"severity"`
	Text     string           `json:"text"`
	Next     string           `json:"next,omitempty"`
}

// findings are gathered one by one.
type findings []finding

func (f *findings) add(name string, s shmring.Severity, next, format string, args ...any) {
	*f = append(*f, finding{name, s, fmt.Sprintf(format, args...), next})
}

// ok says that one thing is as it should be.
func (f *findings) ok(name, format string, args ...any) {
	f.add(name, shmring.SeverityOK, "", format, args...)
}

// ill is the error of a machine on which rings do not work.
type ill struct{ problems int }

func (e ill) Error() string { return fmt.Sprintf("%d problems: rings do not work here", e.problems) }

// examine is what doctor does.
func examine(*cli.Flags) action {
	return func(ctx context.Context, _ []string, o *shmring.AdminOptions) (any, string, error) {
		var f findings
		f.examine(ctx, o.Dir)
		var text strings.Builder
		problems := 0
		for _, one := range f {
			fmt.Fprintf(&text, "%-8s  %-10s  %s\n", one.Severity, one.Name, one.Text)
			if one.Next != "" {
				fmt.Fprintf(&text, "%-8s  %-10s  next: %s\n", "", "", one.Next)
			}
			if one.Severity == shmring.SeverityProblem {
				problems++
			}
		}
		if problems > 0 {
			return f, text.String(), &told{ill{problems}}
		}
		return f, text.String(), nil
	}
}

// where is the directory of rings.
func where(dir string) string {
	path, err := shm.Path("doctor", &shm.Options{Dir: dir})
	if err != nil {
		return dir
	}
	return filepath.Dir(path)
}
