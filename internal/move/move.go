// Package move copies bytes for another processor to read.
//
// A copy by vector stores first fetches every line that it is going to overwrite, from the
// processor that read it last. A string move (REP MOVSB) claims whole lines without reading
// them. Where those processors are far apart that is most of the time of a long copy.
package move

// Least is the length in bytes from which Out takes a string move. Measured from sender to
// receiver in place on Zen 4, by the copy of the runtime and by a string move, ns per message:
//
//	         1 KiB      2 KiB      4 KiB      16 KiB       64 KiB
//	near   43 / 51    72 / 72    121 / 97   304 / 224   1382 / 964
//	far  387 / 381  631 / 445  938 / 372  2673 / 686  9089 / 2226
const Least = 2 << 10

// Out copies src to dst, which is at least as long and does not overlap it. It cannot be
// interrupted: callers copy in pieces what is very long.
func Out(dst, src []byte) {
	dst = dst[:len(src)]
	if len(src) < Least || !hasStringMove {
		copy(dst, src)
	} else {
		stringMove(dst, src)
	}
}
