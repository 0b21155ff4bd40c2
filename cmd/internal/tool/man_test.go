package tool

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/cmd/internal/bench"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/consume"
	"github.com/shmring/shmring/cmd/internal/demo"
	"github.com/shmring/shmring/cmd/internal/produce"
	"github.com/shmring/shmring/cmd/internal/proxy"
	"github.com/shmring/shmring/cmd/internal/wait"
)

var update = flag.Bool("update", false, "write the manual pages anew")

// The manual pages say what the helps say: go test ./cmd/internal/tool -update writes them.
func TestManualPagesAreThoseOfTheHelps(t *testing.T) {
	pages := []*cli.Flags{produce.Flags(), consume.Flags(),
		{Name: "shmring", Summary: summary, Help: Help},
		{Name: "shmring demo", Summary: demo.Summary, Help: demo.Help},
		{Name: "shmring bench", Summary: bench.Summary, Help: bench.Help},
		{Name: "shmring wait", Summary: wait.Summary, Help: wait.Help},
		{Name: "shmring proxy", Summary: proxy.Summary, Help: proxy.Help},
	}
	for _, r := range repairs {
		pages = append(pages, &cli.Flags{Name: "shmring " + r.name, Summary: r.summary, Help: r.text()})
	}
	dir := filepath.Join("..", "..", "man")
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	for _, f := range pages {
		text := cli.Man(f.Name, f.Summary, f.Help)
		file := filepath.Join(dir, strings.ReplaceAll(f.Name, " ", "-")+".1")
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		}
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, text, string(got), "%s: go test ./cmd/internal/tool -update writes it anew", file)
	}
	if !*update {
		require.Len(t, left, len(pages), "a page of something that is not there")
	}
}
