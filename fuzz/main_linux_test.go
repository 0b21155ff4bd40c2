package fuzz

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/internal/cleaner"
	"github.com/shmring/shmring/shm"
)

func TestMain(m *testing.M) {
	cleaner.Main(removeRings)
	code := m.Run()
	if err := dismiss(); err != nil {
		fmt.Println("removing the rings:", err)
		code = 1
	}
	os.Exit(code)
}

// base is one directory of all rings of this process, in memory. It goes when the process has ended:
// go test kills the workers of a native fuzz run when its time is over.
var (
	base = sync.OnceValue(func() string {
		dir, err := os.MkdirTemp(labs.Memory(), "fuzz-*")
		if err == nil {
			dismiss, err = cleaner.Start(dir)
		}
		if err != nil {
			panic(err)
		}
		return dir
	})
	dismiss = func() error { return nil }
)

// removeRings removes a directory of directories of rings, and their semaphores, which would outlive them.
func removeRings(dir string) error {
	rings, err := filepath.Glob(filepath.Join(dir, "*", "*"+shm.Suffix))
	for _, path := range rings {
		name := strings.TrimSuffix(filepath.Base(path), shm.Suffix)
		// One that was spoiled is refused, and goes with the directory.
		_ = shmring.Remove(context.Background(), name, &shmring.AdminOptions{Dir: filepath.Dir(path)})
	}
	return errors.Join(err, os.RemoveAll(dir))
}
