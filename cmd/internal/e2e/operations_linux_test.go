package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

var docs = filepath.Join("..", "..", "..", "docs")

// someGroup is one that we may give a file to.
func someGroup() string {
	if os.Geteuid() == 0 {
		return "4711"
	}
	return strconv.Itoa(os.Getegid())
}

var shellBlock = regexp.MustCompile("(?s)\n\\*\\*([^*]*)\\*\\*[^`]*?(?:`[^`]+`[^`]*?)*\n\n```sh\n(.*?)```\n")

// Every block of commands in OPERATIONS.md runs as it stands, and leaves no ring behind.
func TestCommandsOfThePapersRun(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "OPERATIONS.md"))
	require.NoError(t, err)
	blocks := shellBlock.FindAllStringSubmatch(string(text), -1)
	require.Len(t, blocks, strings.Count(string(text), "```sh\n"), "each has a heading in bold")
	require.GreaterOrEqual(t, len(blocks), 4)
	for _, b := range blocks {
		t.Run(b[1], func(t *testing.T) {
			dir, environment := workplace(t)
			script := "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n" + b[2]
			said, err := shell(t, dir, append(environment, "GROUP="+someGroup()), script)
			require.NoError(t, err, said)
			for _, line := range environment {
				if rings, is := strings.CutPrefix(line, shmring.EnvDir+"="); is {
					left, err := filepath.Glob(filepath.Join(rings, "*"))
					require.NoError(t, err)
					require.Empty(t, left)
				}
			}
		})
	}
}

// The service is what systemd takes, but for where the program is.
func TestServiceFile(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here")
	}
	text, err := os.ReadFile(filepath.Join(docs, "deploy", "shmring-log@.service"))
	require.NoError(t, err)
	dir, _ := workplace(t)
	unit := filepath.Join(dir, "shmring-log@.service")
	verify := func(text string) string {
		here := strings.ReplaceAll(text, "/usr/bin/consumer", filepath.Join(dir, "bin", "consumer"))
		here = strings.ReplaceAll(here, "man:consumer(1)", "https://example.com/") // its page is not installed
		require.NoError(t, os.WriteFile(unit, []byte(here), 0o600))
		out, _ := exec.CommandContext(t.Context(), analyze, "verify", "--recursive-errors=no", unit).CombinedOutput()
		return string(out)
	}
	require.Empty(t, verify(string(text)))
	require.Contains(t, verify(string(text)+"\n[Service]\nRuntimeDirektory=x\n"), "RuntimeDirektory")

	flags := regexp.MustCompile(`(?m)^ExecStart=/usr/bin/consumer (.*)$`).FindStringSubmatch(string(text))
	require.NotNil(t, flags)
	rings, logs := ringDir(t), t.TempDir()
	line := strings.NewReplacer("%i", "r", "%t/shmring", rings, "/var/log/shmring", logs).Replace(flags[1])
	c := start(t, rings, "consumer", strings.Fields(line))
	producer(t, rings, "", stdin(strings.NewReader("a line\n"))).ends(0)
	eventually(t, "the line", func() bool {
		text, _ := os.ReadFile(filepath.Join(logs, "r.log"))
		return string(text) == "a line\n"
	})
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM))
	c.ends(0)
}

// The manifests can be read, share what they say, and run commands that there are.
func TestManifests(t *testing.T) {
	var pod struct {
		Kind string
		Spec struct {
			Containers []struct {
				Command      []string
				VolumeMounts []struct{ Name, MountPath string } `yaml:"volumeMounts"`
			}
			Volumes []struct {
				Name     string
				EmptyDir struct{ Medium, SizeLimit string } `yaml:"emptyDir"`
			}
		}
	}
	manifest(t, "pod.yaml", &pod)
	require.Equal(t, "Pod", pod.Kind)
	require.Equal(t, "Memory", pod.Spec.Volumes[0].EmptyDir.Medium)
	for _, c := range pod.Spec.Containers {
		require.Equal(t, pod.Spec.Volumes[0].Name, c.VolumeMounts[0].Name)
		accepted(t, c.Command)
	}
	for _, name := range []string{"compose.yaml", "../relay/compose.yaml"} {
		containers(t, name)
	}
	if kubectl, err := exec.LookPath("kubectl"); err == nil {
		out, err := exec.CommandContext(t.Context(), kubectl, "kustomize", filepath.Join(docs, "deploy")).CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "kind: Pod")
	}
}

// containers reads a compose file: every word in it is known, every volume and service that it names is there, and
// our programs take their flags. Those of the relay are tested beside it.
func containers(t *testing.T, name string) {
	t.Helper()
	var compose struct {
		Services map[string]struct {
			Image     string
			Command   []string
			Volumes   []string
			StdinOpen bool `yaml:"stdin_open"`
			Restart   string
			DependsOn []string `yaml:"depends_on"`
		}
		Volumes map[string]struct {
			DriverOpts map[string]string `yaml:"driver_opts"`
		}
	}
	manifest(t, name, &compose)
	require.GreaterOrEqual(t, len(compose.Services), 2)
	used := map[string]bool{}
	for service, s := range compose.Services {
		require.NotEmpty(t, s.Image, service)
		require.Contains(t, []string{"", "on-failure", "unless-stopped"}, s.Restart, service)
		for _, v := range s.Volumes {
			volume, path, _ := strings.Cut(v, ":")
			require.Contains(t, compose.Volumes, volume, service)
			require.True(t, filepath.IsAbs(path), service)
			used[volume] = true
		}
		for _, other := range s.DependsOn {
			require.Contains(t, compose.Services, other, service)
		}
		if program := s.Command[0]; program == "producer" || program == "consumer" {
			accepted(t, s.Command)
		}
	}
	require.Len(t, used, len(compose.Volumes), "each is used")
}

// manifest reads a file into what has a field for each word of it, but for those of Kubernetes.
func manifest(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, "deploy", name))
	require.NoError(t, err)
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(strings.HasSuffix(name, "compose.yaml"))
	require.NoError(t, d.Decode(into))
}

// accepted makes sure that a program takes the flags: it gets as far as the version.
func accepted(t *testing.T, command []string) {
	t.Helper()
	start(t, base, command[0], append(command[1:], "-version")).ends(0)
}

// A ring of another user is used by one of its group who says that it trusts that user, and by nobody
// else.
func TestTwoUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be two users")
	}
	// Where others get at it: test binaries are in directories of ours.
	bin := filepath.Join(t.TempDir(), "test")
	text, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(bin, text, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(bin)), 0o755))
	require.NoError(t, os.Chmod(base, 0o711))
	dir := ringDir(t)
	require.NoError(t, os.Chown(dir, -1, 4711))
	require.NoError(t, os.Chmod(dir, 0o2770))
	as := func(uid, gid uint32) setup {
		return func(cmd *exec.Cmd) {
			cmd.Path, cmd.Dir = bin, "/"
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
		}
	}
	producer(t, dir, "-perm 660", as(1001, 4711), stdin(strings.NewReader("one\n"))).ends(0)
	c := consumer(t, dir, "", as(1002, 4711))
	c.ends(cli.Failed)
	require.Contains(t, c.stderr.String(), "uid 1001")
	consumer(t, dir, "-any-owner", as(1003, 4712)).ends(cli.Failed) // is not of the group
	start(t, dir, "shmring", []string{"events", "r"}, as(1002, 4711)).ends(cli.Failed)
	start(t, dir, "shmring", []string{"events", "-any-owner", "r"}, as(1002, 4711)).ends(0)
	c = consumer(t, dir, "-any-owner", as(1002, 4711))
	c.ends(0)
	require.Equal(t, "one\n", c.stdout.String())
}
