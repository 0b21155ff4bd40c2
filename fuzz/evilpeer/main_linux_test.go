package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

func TestMain(m *testing.M) {
	labs.IfChild(child)
	os.Exit(m.Run())
}

// Some rings of each mode, with real processes.
func TestRun(t *testing.T) {
	var said strings.Builder
	require.Zero(
		t,
		program().Run(t.Context(), strings.Fields("-mode all -n 6 -for 50ms"), &said, &said),
		said.String(),
	)
}

// Every call is in one of the tables, so that an attack may meet it.
func TestEveryCallIsMade(t *testing.T) {
	made := map[string]bool{}
	for _, file := range []string{"calls_linux.go", "life_linux.go", "round_linux.go"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, call := range regexp.MustCompile(`\.([A-Z]\w+)\b`).FindAllStringSubmatch(string(text), -1) {
			made[call[1]] = true
		}
	}
	for _, handle := range []any{&shmring.Producer{}, &shmring.Consumer{}, &shmring.Claim{}, &shmring.Message{},
		&shmring.View{}, &shmring.Batch{}, &shmring.Inspector{}, &shmring.Observer{}} {
		for m := range reflect.TypeOf(handle).Methods() {
			require.True(t, made[m.Name], "%T has a method %s, which no victim calls", handle, m.Name)
		}
	}
}

// Each kind of sealed ring, doorbell, lock, style and way to wait is in the short form of each mode.
func TestConfigurations(t *testing.T) {
	for _, m := range modes {
		if m.strike == nil {
			continue
		}
		seen := map[any]bool{}
		for i := range m.short {
			c := configured(arguments{}, m, i)
			for _, what := range []any{c.kind, c.doorbell, "locks " + c.locks, c.style, c.polling} {
				seen[what] = true
			}
			seen[fmt.Sprint("sealed ", c.sealed)], seen[fmt.Sprint("untrusted ", c.options.Untrusted)] = true, true
		}
		want := 3 + 3 + 2 + int(styles) + 2 + 2 + 2
		for less, is := range map[int]bool{1: m.sealed != sometimes, 2: m.mpsc, 3: m.sysv} {
			if is {
				want -= less
			}
		}
		if m.sealed == always { // no broadcast rings, and one kind of locks
			want -= 2
		}
		require.Len(t, seen, want, "%s: %v", m.name, seen)
	}
}

// An end that says nothing of what has happened is seen.
func TestEndsAreJudged(t *testing.T) {
	r := &report{Ends: map[string]int{}}
	r.end("send", &shmring.TruncatedError{Path: "p"})
	r.end("send", &shmring.CorruptError{Field: "x"})
	r.end("send", context.DeadlineExceeded)
	require.Equal(t, map[string]int{"TruncatedError": 1, "CorruptError: x": 1, "deadline": 1}, r.Ends)
	require.Empty(t, r.Wrong)
	r.end("send", os.ErrInvalid)
	require.Len(t, r.Wrong, 1)
}
