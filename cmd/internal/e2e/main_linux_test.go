// Package e2e tests the programs as their users meet them: as processes. The test
// binary runs itself again as each of them.
package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/consume"
	"github.com/shmring/shmring/cmd/internal/produce"
	"github.com/shmring/shmring/cmd/internal/tool"
	"github.com/shmring/shmring/internal/cleaner"
	"github.com/shmring/shmring/shm"
)

// envProgram names the program that the test binary is to be.
const envProgram = "SHMRING_E2E_PROGRAM"

var programs = map[string]func(){
	"producer": func() { cli.Main("producer", produce.Run) },
	"consumer": func() { cli.Main("consumer", consume.Run) },
	"shmring":  func() { cli.Main("shmring", tool.Run) },
}

// base is where all rings of this run live.
var base string

func TestMain(m *testing.M) {
	cleaner.Main(os.RemoveAll)
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
	var dismiss func() error
	if base, err = os.MkdirTemp(dir, "shmring-e2e-"); err == nil {
		dismiss, err = cleaner.Start(base)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	code := m.Run()
	if left, _ := filepath.Glob(filepath.Join(base, "*")); len(left) > 0 {
		fmt.Println("left behind:", left)
		code = 1
	}
	if err := dismiss(); err != nil {
		fmt.Println("removing the rings:", err)
		code = 1
	}
	os.Exit(code)
}
