//go:build !linux

package recording

import "testing"

func limitFiles(t *testing.T, _ int64) { t.Skip("no such limit here") }
