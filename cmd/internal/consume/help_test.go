package consume

import (
	"flag"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/cmd/internal/cli"
)

// The help is written by hand; this keeps it complete.
func TestHelpNamesEveryFlag(t *testing.T) {
	c := &config{}
	f := cli.NewFlags("x", help)
	c.register(f)
	f.VisitAll(func(g *flag.Flag) {
		require.Regexp(t, `(?m)^  -`+g.Name+`( |$)`, help)
	})
	_, done, err := parse([]string{"-ring", "x"}, io.Discard, io.Discard)
	require.NoError(t, err)
	require.False(t, done)
}
