// Package install tests that go install works as people use it: by module path and
// version, from a proxy, outside any checkout.
package install

import (
	"archive/zip"
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module  = "github.com/shmring/shmring"
	version = "v0.0.1" // of all modules, in the proxy that the test makes
)

// modules are those of the checkout that programs are built from, by where they are.
var modules = []string{"", "/cmd", "/contrib/prometheus"}

var required = regexp.MustCompile(`(` + regexp.QuoteMeta(module) + `(?:/\S+)?) v\S+`)

// proxy is a module proxy made of files, with the modules as a release would have them.
func proxy(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	root, err := filepath.Abs(filepath.Join("..", "..", ".."))
	require.NoError(t, err)
	for _, path := range modules {
		add(t, dir, module+path, filepath.Join(root, filepath.FromSlash(path)))
	}
	return dir
}

// add makes the files of one module. The module's go.mod requires the other in the version
// that the proxy has.
func add(t *testing.T, proxy, path, tree string) {
	t.Helper()
	dir := filepath.Join(proxy, filepath.FromSlash(path), "@v")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	mod, err := os.ReadFile(filepath.Join(tree, "go.mod"))
	require.NoError(t, err)
	require.NotContains(t, string(mod), "replace", "go install refuses a module with replace directives")
	mod = required.ReplaceAll(mod, []byte("$1 "+version))
	for name, text := range map[string]string{
		"list": version + "\n", version + ".info": `{"Version":"` + version + `"}`, version + ".mod": string(mod),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	require.NoError(t, filepath.WalkDir(tree, func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			_, err := os.Stat(filepath.Join(file, "go.mod"))
			if file != tree && (err == nil || strings.HasPrefix(e.Name(), ".")) {
				return fs.SkipDir // another module, or none of Go's business
			}
			return nil
		}
		name, err := filepath.Rel(tree, file)
		if err != nil || !e.Type().IsRegular() || name == "go.work" || name == "go.work.sum" {
			return err
		}
		text := mod
		if name != "go.mod" {
			if text, err = os.ReadFile(file); err != nil {
				return err
			}
		}
		w, err := z.Create(path + "@" + version + "/" + filepath.ToSlash(name))
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	}))
	require.NoError(t, z.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, version+".zip"), b.Bytes(), 0o600))
}

// environment is that of a user who has no checkout. Other modules come from the cache of
// this machine, else from where it gets its modules.
func environment(t *testing.T, proxy, bin string) []string {
	t.Helper()
	env := func(name string) string { return strings.TrimSpace(run(t, "", nil, "go", "env", name)) }
	return append(os.Environ(),
		"GOPROXY=file://"+proxy+",file://"+filepath.Join(env("GOMODCACHE"), "cache", "download")+","+env("GOPROXY"),
		// A cache of its own: this version is another one with each commit.
		"GOMODCACHE="+t.TempDir(), "GOBIN="+bin, "GOSUMDB=off", "GOWORK=off", "GOTOOLCHAIN=local",
		"GOFLAGS=-modcacherw")
}

func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, env
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(t, err, "%s %v: %s", name, args, &said)
	return string(out)
}

func TestProgramsAreInstalledByVersion(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the programs anew")
	}
	bin, elsewhere := t.TempDir(), t.TempDir()
	env := environment(t, proxy(t), bin)
	for _, program := range []string{"producer", "consumer", "shmring"} {
		run(t, elsewhere, env, "go", "install", module+"/cmd/"+program+"@"+version)
		path := filepath.Join(bin, program)
		require.Contains(t, run(t, elsewhere, env, path, "-version"), program+" "+version+" (go")
		require.Contains(t, run(t, elsewhere, env, path, "--help"), "Usage: "+program)
	}
}

// Who imports the library, or builds its programs, has no module of NATS in his graph: those are of the
// relay, which is for who asks for it.
func TestNobodyGetsNATSUnasked(t *testing.T) {
	if testing.Short() {
		t.Skip("it asks for modules")
	}
	proxy := proxy(t)
	for path, pkg := range map[string]string{module: module, module + "/cmd": ""} {
		dir := t.TempDir()
		env := environment(t, proxy, dir)
		mod := "module x\n\ngo 1.26.0\n\nrequire " + path + " " + version + "\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600))
		graph := run(t, dir, append(env, "GOFLAGS=-mod=mod -modcacherw"), "go", "list", "-m", "all")
		require.Contains(t, graph, path+" "+version)
		require.NotContains(t, graph, "nats", path)
		if pkg != "" {
			deps := run(t, dir, append(env, "GOFLAGS=-mod=mod -modcacherw"), "go", "list", "-deps", pkg)
			require.Contains(t, deps, module+"/ring")
			require.NotContains(t, deps, "nats")
		}
	}
}

// What go.mod and go.sum of the programs, and of what they are built from, say is what go mod tidy
// would. It cannot be asked in the checkout, where the required version of the library is not
// released yet.
func TestModuleIsTidy(t *testing.T) {
	if testing.Short() {
		t.Skip("it may ask for modules that nothing here is built from")
	}
	proxy := proxy(t)
	for _, path := range modules[1:] { // the gate looks at the library's by itself
		t.Run(path, func(t *testing.T) {
			tidy(t, proxy, filepath.Join("..", "..", "..", filepath.FromSlash(path)))
		})
	}
}

func tidy(t *testing.T, proxy, tree string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(tree)))
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		text = required.ReplaceAll(text, []byte("$1 "+version))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	before := moduleFiles(t, dir)
	run(t, dir, environment(t, proxy, dir), "go", "mod", "tidy")
	require.Equal(t, before, moduleFiles(t, dir))
}

// moduleFiles are go.mod and go.sum without what is in this checkout, whose sum is another with
// each commit.
func moduleFiles(t *testing.T, dir string) (lines []string) {
	t.Helper()
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimPrefix(line, "\t"); !strings.HasPrefix(line, module+" ") &&
				!strings.HasPrefix(line, module+"/") {
				lines = append(lines, line)
			}
		}
	}
	return lines
}
