package labs

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type report struct{ Mode string }

func (r report) Well() bool        { return r.Mode != "bad" }
func (r report) Print(w io.Writer) { fmt.Fprintln(w, "it was", r.Mode) }

// laboratory has three modes, of which one goes wrong and one is interrupted.
func laboratory(cancel func()) *Program {
	var odd bool
	return &Program{
		Name:  "lab",
		Title: "Modes",
		Modes: []Mode{{"good", "goes well"}, {"bad", "does not"}, {"long", "is interrupted"}, {"never", "comes after it"}},
		Flags: func(f *flag.FlagSet) { f.BoolVar(&odd, "odd", false, "is odd") },
		Check: func() error {
			if odd {
				return errors.New("too odd")
			}
			return nil
		},
		Experiment: func(_ context.Context, mode int, o Options) Report {
			name := []string{"good", "bad", "long", "never"}[mode]
			if o.Seed == 0 {
				panic("no seed")
			}
			if name == "long" {
				cancel()
			}
			return report{name}
		},
	}
}

func TestRun(t *testing.T) {
	for _, c := range []struct {
		arguments    string
		status       int
		stdout, said string
	}{
		{"-mode good", 0, "it was good\n", ""},
		{"-mode bad", 1, "it was bad\n", ""},
		{"-mode all", 1, "it was good\nit was bad\nit was long\n", ""},
		{"-mode good -json", 0, "{\"Mode\":\"good\"}\n", "it was good\n"},
		{"", 2, "", "lab: -mode \"\": want good, bad, long, never or all\n"},
		{"-mode dance", 2, "", "lab: -mode \"dance\": want good, bad, long, never or all\n"},
		{"-mode good extra", 2, "", "lab: unexpected argument \"extra\"\n"},
		{"-mode good -odd", 2, "", "lab: too odd\n"},
		{"-sise 3", 2, "", "flag provided but not defined: -sise\n"},
		{"-help", 0, "", "Usage: lab -mode MODE [flags]\n\nModes\n  good         goes well\n"},
	} {
		t.Run(c.arguments, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var stdout, stderr strings.Builder
			require.Equal(t, c.status, laboratory(cancel).Run(ctx, strings.Fields(c.arguments), &stdout, &stderr))
			require.Equal(t, c.stdout, stdout.String())
			require.True(t, strings.HasPrefix(stderr.String(), c.said), stderr.String())
			if strings.Contains(c.arguments, "-json") {
				require.True(t, json.Valid([]byte(stdout.String())))
			}
		})
	}
}

func TestPatience(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 10 * time.Second, "3s": 3 * time.Second,
		"soon": 10 * time.Second, "-1s": 10 * time.Second} {
		t.Setenv(PatienceEnv, text)
		require.Equal(t, want, patience(), text)
	}
}
