// Package e2e tests the programs as their users meet them: as processes. The test
// binary runs itself again as each of them.
package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/consume"
	"github.com/shmring/shmring/cmd/internal/produce"
	"github.com/shmring/shmring/cmd/internal/tool"
	"github.com/shmring/shmring/shm"
)

// envProgram names the program that the test binary is to be.
const (
	envProgram = "SHMRING_E2E_PROGRAM"
	envBase    = "SHMRING_E2E_BASE"
)

var programs = map[string]func(){
	"producer": func() { cli.Main("producer", produce.Run) },
	"consumer": func() { cli.Main("consumer", consume.Run) },
	"shmring":  func() { cli.Main("shmring", tool.Run) },
	"cleaner":  cleaner,
}

// base is where all rings of this run live.
var base string

func TestMain(m *testing.M) {
	if name := os.Getenv(envProgram); name != "" {
		programs[name]()
		return
	}
	if runtime.GOOS != "linux" {
		fmt.Println("the programs run on Linux only")
		return
	}
	dir := shm.DefaultDir
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		dir = os.TempDir()
	}
	var err error
	if base, err = os.MkdirTemp(dir, "shmring-e2e-"); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	dismiss := startCleaner()
	code := m.Run()
	if left, _ := filepath.Glob(filepath.Join(base, "*")); len(left) > 0 {
		fmt.Println("left behind:", left)
		code = 1
	}
	dismiss()
	os.Exit(code)
}

// startCleaner starts a process that removes base when this one has ended, whatever
// it ended of.
func startCleaner() (dismiss func()) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envProgram+"=cleaner", envBase+"="+base)
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Println("no cleaner:", err)
		return func() { os.RemoveAll(base) }
	}
	return func() {
		in.Close()
		cmd.Wait()
	}
}

func cleaner() {
	io.Copy(io.Discard, os.Stdin)
	if err := os.RemoveAll(os.Getenv(envBase)); err != nil {
		os.Exit(1)
	}
}
