package runner

import (
	"os"
	"testing"

	"github.com/shmring/shmring/bench/internal/link"
	"github.com/shmring/shmring/bench/internal/rival"
	"github.com/shmring/shmring/bench/internal/work"
)

// The test binary is also the workers and the cleaner.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case ChildCommand:
			os.Exit(work.Child(os.Args[2:], link.Opens, nil, os.Stdin, os.Stdout, os.Stderr))
		case CleanerCommand:
			os.Exit(BeCleaner(os.Stdin))
		}
	}
	rival.Flags = []string{"-std=c++20", "-O0", "-pthread", "-DFEW_SIZES"}
	os.Exit(m.Run())
}
