//go:build !race

package move

import "golang.org/x/sys/cpu"

// hasStringMove: string moves are fast here ("enhanced": since Ivy Bridge and Zen 3).
var hasStringMove = cpu.X86.HasERMS

// stringMove copies src, which is as long as dst.
//
//go:noescape
func stringMove(dst, src []byte)
