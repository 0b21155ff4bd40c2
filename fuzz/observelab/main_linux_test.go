package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/fuzz/internal/labs"
)

func TestMain(m *testing.M) {
	labs.IfChild(child)
	os.Exit(m.Run())
}

// Some messages of each mode, with real processes.
func TestRun(t *testing.T) {
	var said strings.Builder
	require.Zero(t, program().Run(t.Context(), strings.Fields("-mode all -n 50000"), &said, &said), said.String())
}
