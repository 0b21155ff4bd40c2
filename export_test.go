package shmring

import (
	"testing"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
)

// ReplaceProbe puts something in the place of doorbell.Probe.
func ReplaceProbe(t *testing.T, by func() (layout.Doorbell, []doorbell.Refusal)) {
	before := probe
	t.Cleanup(func() { probe = before })
	probe = by
}
