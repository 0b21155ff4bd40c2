package doorbell

import (
	"slices"
	"testing"

	"github.com/shmring/shmring/layout"
)

// Refuse makes the probe of a kind fail for the length of a test.
func Refuse(t *testing.T, kind layout.Doorbell, why error) {
	before := slices.Clone(candidates)
	t.Cleanup(func() { candidates = before })
	for i := range candidates {
		if candidates[i].kind == kind {
			candidates[i].refused = func() error { return why }
		}
	}
}
