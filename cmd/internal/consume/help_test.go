package consume

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The help is written by hand; this keeps it complete.
func TestHelpNamesEveryFlag(t *testing.T) {
	c := &config{}
	for _, name := range c.flags().Names() {
		require.Regexp(t, `(?m)^  -`+name+`( |$)`, help)
	}
}
