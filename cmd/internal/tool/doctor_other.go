//go:build !linux

package tool

import (
	"context"

	"github.com/shmring/shmring"
)

func (f *findings) examine(context.Context, string) {
	f.add("system", shmring.SeverityProblem, "use Linux", "rings in files need Linux")
}
