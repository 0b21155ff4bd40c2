package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// examples are the lines below Examples in what a program says when asked for help.
func examples(t *testing.T, program string, args ...string) (lines []string) {
	t.Helper()
	p := start(t, base, program, append(args, "-help"))
	p.ends(0)
	_, text, found := strings.Cut(p.stdout.String(), "\nExamples\n")
	require.True(t, found, "%s %v has no examples", program, args)
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	require.NotEmpty(t, lines)
	return lines
}

// workplace is a directory with what the examples need, where producer, consumer and
// shmring are commands.
func workplace(t *testing.T) (dir string, environment []string) {
	t.Helper()
	dir = t.TempDir()
	bin := filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o700))
	for _, program := range []string{"producer", "consumer", "shmring"} {
		script := "#!/bin/sh\n" + envProgram + "=" + program + " exec " + os.Args[0] + " \"$@\"\n"
		require.NoError(t, os.WriteFile(filepath.Join(bin, program), []byte(script), 0o700))
	}
	for _, file := range []string{"access.log", "app.log", "part1", "part2"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(numbered(file, 0, 100)), 0o600))
	}
	return dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), shmring.EnvDir+"="+ringDir(t))
}

// shell runs a line. One that follows a file never ends, so it is given a moment.
func shell(t *testing.T, dir string, environment []string, line string) (said string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	// What reads files for ever ends after a second, and then its producer does.
	line = strings.ReplaceAll(line, "tail -F ", "timeout 1 tail -F ")
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, environment, time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

var ringOf = regexp.MustCompile(`-ring (\S+)`)

// Every example in every help runs as it is printed, against the simplest peer.
func TestExamplesOfTheHelpsRun(t *testing.T) {
	for _, program := range []string{"producer", "consumer"} {
		for _, line := range examples(t, program) {
			t.Run(line, func(t *testing.T) {
				t.Parallel()
				dir, environment := workplace(t)
				ring := ringOf.FindStringSubmatch(line)[1]
				peer := "consumer -ring " + ring + " -timeout 20s > received"
				switch {
				case program == "consumer" && strings.Contains(line, "-producers 4"):
					peer = "for i in 1 2 3 4; do producer -ring " + ring + " app.log; done"
				case program == "consumer" && strings.Contains(line, "-verify"):
					peer = "producer -ring " + ring + " -generate 1000"
				case program == "consumer":
					peer = "producer -ring " + ring + " app.log"
				case strings.Contains(line, "-no-end"):
					peer = "consumer -ring " + ring + " -count 10 > received"
				}
				type outcome struct {
					err  error
					said string
				}
				other := make(chan outcome, 1)
				go func() {
					said, err := shell(t, dir, environment, peer)
					other <- outcome{err, said}
				}()
				said, err := shell(t, dir, environment, line)
				require.NoError(t, err, said)
				o := <-other
				require.NoError(t, o.err, "%s: %s", peer, o.said)
				said, _ = shell(t, dir, environment, "shmring remove "+ring)
				require.Contains(t, said, "removed "+ring)
			})
		}
	}
}

func TestExamplesOfTheCommandsRun(t *testing.T) {
	for _, command := range []string{"", "demo", "wait", "events", "recover", "remove", "resize", "force-skip"} {
		args := strings.Fields(command)
		for _, line := range examples(t, "shmring", args...) {
			t.Run(line, func(t *testing.T) {
				if testing.Short() && strings.Contains(line, "wait -quick") {
					t.Skip("it measures for 12 s")
				}
				dir, environment := workplace(t)
				said, err := shell(t, dir, environment, "producer -quiet -ring jobs -kind mpsc part1")
				require.NoError(t, err, said)
				said, err = shell(t, dir, environment, line)
				if command == "force-skip" { // nobody holds it up
					require.Contains(t, said, "no unfinished claim")
				} else {
					require.NoError(t, err, said)
				}
				_, _ = shell(t, dir, environment, "shmring remove jobs")
			})
		}
	}
}
