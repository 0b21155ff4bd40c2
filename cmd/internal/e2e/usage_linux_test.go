package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/cmd/internal/cli"
)

func TestUsageErrors(t *testing.T) {
	for _, c := range []misuse{
		{"producer", "", "no ring named: give -ring NAME"},
		{"consumer", "", "no ring named: give -ring NAME"},
		{"producer", "-ring a/b", `-ring:`},
		{"producer", "-ring r -frame lines", `unknown framing "lines": want line, len32 or chunk=BYTES`},
		{"producer", "-ring r -frame chunk=0", `chunk size "0": want a number of bytes from 1 on`},
		{"consumer", "-ring r -frame x", "want line, len32 or chunk=BYTES"},
		{"producer", "-ring r -slots 100", "-slots is 100, want a power of two"},
		{"producer", "-ring r -slots many", "-slots"},
		{"producer", "-ring r -slot-size 100", "-slot-size is 100, want 0 or a multiple of 64"},
		{"producer", "-ring r -max-message 4M",
			"producer: -max-message is 4194304, want 0 to 1048320, what 4095 slots of 256 bytes can carry\n"},
		{"producer", "-ring r -frame chunk=4M", "-frame: a message of 4194304 bytes, want 0 to 1048320"},
		{"producer", "-ring r -kind many", "want spsc, mpsc or broadcast"},
		{"producer", "-ring r -drain -5s", "-drain -5s: want a positive duration"},
		{"producer", "-ring r -generate 5 -drain 1s", "-generate takes the place of input"},
		{"producer", "-ring r -long wrap", "want split, cut, skip or fail"},
		{"producer", "-ring r -frame len32 -long cut", "-long is about lines: with -frame len32 no record"},
		{"producer", "-ring r -generate 5 -long cut", "-generate takes the place of input"},
		{"producer", "-ring r -full maybe", "want block, fail or drop"},
		{"producer", "-ring r -doorbell long", "want auto, futex, sysv or poll"},
		{"consumer", "-ring r -wait lazy", "want balanced, sleep, spin or park"},
		{"producer", "-ring r -slots 1e9", "want a whole number, in digits, like 8192"},
		{"consumer", "-ring r -wait spin -spin-for 5us", "-spin-for is for -wait balanced"},
		{"producer", "-ring r -max-sleep 100us", "-max-sleep 100µs: want 1ms or more"},
		{"producer", "-ring r -timeout 5", "-timeout"},
		{"producer", "-ring r -timeout -5s", "want a positive duration"},
		{"producer", "-ring r -count 0", "want 1 or more"},
		{"producer", "-ring r -batch 0", "want 1 to 4096"},
		{"producer", "-ring r -cpu -1", "want the number of a processor"},
		{"producer", "-ring r -size 5", "give -generate COUNT too"},
		{"producer", "-ring r -generate 5 file", "-generate takes the place of input"},
		{"producer", "-ring r -generate 5 -size 9-3", "want a number of bytes, or a range like 48-4096"},
		{"producer", "-ring r -generate -5", "0 is until interrupted"},
		{"producer", "-ring r -sise 5", "flag provided but not defined: -sise: producer -help lists the flags"},
		{"consumer", "-ring r file", `what is "file"?`},
		{"consumer", "-ring r -verify -o x", "-verify writes nothing"},
		{"consumer", "-ring r -o a -o b", "records go to one file, and a is one already"},
		{"consumer", "-ring r -o=", "want the name of a file"},
		{"consumer", "-ring r -append", "give -o FILE too"},
		{"consumer", "-ring r -o a -append -truncate", "give one of them"},
		{"consumer", "-ring r -follow -producers 2", "-follow never ends"},
		{"consumer", "-ring r -producers 0", "want 1 or more"},
		{"consumer", "-ring r -on-death die", "want wait or exit"},
	} {
		c.run(t)
	}
}

func TestUsageErrorsOfCommands(t *testing.T) {
	for _, c := range []misuse{
		{"shmring", "", "Usage: shmring COMMAND"},
		{"shmring", "dance", `unknown command "dance": shmring help lists them`},
		{"shmring", "help dance", "No help topic for 'dance': shmring -help lists what there is"},
		{"shmring", "completion dance", "shmring -help lists what there is"},
		{"shmring", "rm", "0 arguments, want 1: shmring remove -help shows them"},
		{"shmring", "proxy -listen tcp:localhost:0", `-to "": want tcp:HOST:PORT`},
		{"shmring", "demo now", `unexpected argument "now"`},
		{"shmring", "recover", "0 arguments, want 1: shmring recover -help shows them"},
		{"shmring", "force-skip", "0 arguments, want 1 to 2"},
		{"shmring", "force-skip r here", `position "here": want a number of slots`},
		{"shmring", "remove r -now", "not defined: -now: shmring remove -help lists the flags"},
		{"shmring", "remove r s", "2 arguments, want 1"},
		{"shmring", "demo -slow", "not defined: -slow: shmring demo -help lists the flags"},
		{"shmring", "wait now", `unexpected argument "now"`},
		{"shmring", "wait -for 0s", "want a positive duration"},
		{"shmring", "wait -quick -for 1m", "give one of them"},
		{"shmring", "bench now", `unexpected argument "now"`},
		{"shmring", "bench -size 5x", "want numbers of bytes, as 8,1K,1M"},
		{"shmring", "bench -size 8,", "want numbers of bytes"},
		{"shmring", "bench -size 8,8", "8 is there twice"},
		{"shmring", "bench -size 4M", "-size: a message of 4194304 bytes, want 0 to 1048320"},
		{"shmring", "bench -kind broadcast", "want spsc or mpsc"},
		{"shmring", "bench -producers 2", "a ring of kind spsc has one; give -kind mpsc"},
		{"shmring", "bench -kind mpsc -producers 255", "want 1 to 254"},
		{"shmring", "bench -slots 3", "-slots is 3, want a power of two"},
		{"shmring", "bench -for 0s", "want a positive duration"},
		{"shmring", "bench -pin a,b", "want numbers of processors"},
		{"shmring", "bench -pin 0", "-pin has 1 of them, want two processors"},
		{"shmring", "bench -kind mpsc -producers 3 -pin 0,0,0", "or 4, one for each"},
		{"shmring", "bench -quick", "not defined: -quick: shmring bench -help lists the flags"},
		{"shmring", "bench -wait sleep -spin-for 5us", "-spin-for is for -wait balanced"},
		{"shmring", "resize r", "nothing to change: give -slots, -slot-size, -max-message or -max-producers"},
		{"shmring", "resize -slots 8", "0 arguments, want 1"},
		{"shmring", "resize -slots 1e9 r", "want a whole number"},
		{"shmring", "ls a b", "2 arguments, want 0 to 1: shmring ls -help shows them"},
		{"shmring", "ls -dir a b", "two directories, b and -dir a: give one"},
		{"shmring", "ls -for -1s", "-for -1s: want a duration like 1s, or 0"},
		{"shmring", "top -for 0", "-for 0s: want a positive duration like 1s"},
		{"shmring", "top -count 0", "-count 0: want 1 or more"},
		{"shmring", "inspect", "0 arguments, want 1"},
		{"shmring", "inspect r -watch -for 0s", "-watch needs a time between looks"},
		{"shmring", "resize r -kind mpsc", "not defined: -kind: shmring resize -help lists the flags"},
	} {
		c.run(t)
	}
}

// misuse is a command line that cannot be understood.
type misuse struct{ program, args, want string }

func (c misuse) run(t *testing.T) {
	t.Run(c.program+" "+c.args, func(t *testing.T) {
		t.Parallel()
		p := start(t, base, c.program, strings.Fields(c.args))
		p.ends(cli.Usage)
		require.Contains(t, p.stderr.String(), c.want)
		if c.args != "" {
			require.Equal(t, 1, strings.Count(p.stderr.String(), "\n"), "one line: %s", p.stderr)
		}
		require.Empty(t, p.stdout.String())
	})
}

func TestHelpGoesToStandardOutput(t *testing.T) {
	for _, c := range []struct{ program, args, want string }{
		{"producer", "-help", "producer -ring log < access.log"},
		{"producer", "--help", "130  aborted"},
		{"consumer", "-h", "consumer -ring log >> app.log"},
		{"shmring", "help", "demo"},
		{"shmring", "--help", "demo"},
		{"shmring", "help demo", "-no-pin"},
		{"shmring", "demo -help", "-no-pin"},
		{"shmring", "help wait", "-for DURATION"},
		{"shmring", "help bench", "-pin CPU,CPU"},
		{"shmring", "help rm", "Usage: shmring remove"},
		{"shmring", "list -h", "Usage: shmring ls"},
		{"shmring", "bench -h", "130  aborted"},
		{"producer", "-help", "$SHMRING_DOORBELL"},
		{"shmring", "recover -help", "Usage: shmring recover"},
		{"shmring", "help remove", "Usage: shmring remove"},
		{"shmring", "force-skip -h", "POSITION"},
		{"shmring", "resize -h", "-max-producers N"},
		{"producer", "-version", "producer "},
		{"consumer", "-version", "consumer "},
		{"shmring", "version", "shmring "},
	} {
		t.Run(c.program+" "+c.args, func(t *testing.T) {
			t.Parallel()
			p := start(t, base, c.program, strings.Fields(c.args))
			p.ends(0)
			require.Contains(t, p.stdout.String(), c.want)
			require.Empty(t, p.stderr.String())
		})
	}
}

func TestProcessorThatIsNotThere(t *testing.T) {
	p := producer(t, ringDir(t), "-cpu 100000")
	p.ends(cli.Failed)
	require.Contains(t, p.stderr.String(), "-cpu: processor 100000: this process may run on [")
}

// Nobody makes the directory while the consumer waits for its ring in it.
func TestDirectoryThatIsNotThereIsAnErrorAtOnce(t *testing.T) {
	for _, program := range []string{"producer", "consumer"} {
		p := start(t, base, program, []string{"-ring", "r", "-dir", "/nonexistent"})
		p.ends(cli.Failed)
		require.Contains(t, p.stderr.String(), program+": -dir: stat /nonexistent: no such file")
		require.Equal(t, 1, strings.Count(p.stderr.String(), "\n"), "one line, and no summary: %s", p.stderr)
	}
}

func TestUsageErrorsAsJSON(t *testing.T) {
	for _, c := range []struct{ program, args string }{
		{"producer", "-ring r -slots 1e9 -json"},
		{"consumer", "-json -ring r file"},
		{"shmring", "remove --json"},
		{"shmring", "demo -slow -json"},
		{"shmring", "wait -json now"},
		{"shmring", "bench -json -slots 3"},
		{"shmring", "rm -json"},
		{"shmring", "tap -json -slow"},
		{"shmring", "proxy -json -slow"},
		{"shmring", "proxy -json"},
	} {
		p := start(t, base, c.program, strings.Fields(c.args))
		p.ends(cli.Usage)
		var got struct {
			Error    string
			ExitCode int `json:"exit_code"`
		}
		text := p.stderr.String() // producer and consumer write records to standard output
		if c.program == "shmring" {
			text = p.stdout.String()
		}
		require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		require.NotEmpty(t, got.Error)
		require.Equal(t, cli.Usage, got.ExitCode)
	}
}

func TestShellsComplete(t *testing.T) {
	for _, c := range []struct{ program, args, want string }{
		{"producer", "completion bash", "complete "},
		{"producer", "-sl --generate-shell-completion", "--slots:N how many messages"},
		{"shmring", "demo -q --generate-shell-completion", "--quick:measure for"},
		{"shmring", "bench -p --generate-shell-completion", "--pin:CPU,CPU keep the producer"},
		{"shmring", "--generate-shell-completion", "force-skip:pass over"},
	} {
		p := start(t, base, c.program, strings.Fields(c.args))
		p.ends(0)
		require.Contains(t, p.stdout.String(), c.want)
	}
}
