package fuzz

import gofuzz "github.com/google/gofuzz"

// step is one move of the hostile script. gofuzz fills exported fields only and
// leaves others zero without a word.
type step struct {
	Op   uint8  // what is done
	Who  uint8  // by or to whom
	Size uint16 // of a message, or which slot
	Lie  uint8  // the kind of value
	Word uint64 // the value, or what it is made from
}

// steps makes up to 80 moves from bytes, the same ones each time; bytes that are
// missing come from a generator that the first ones seed. This is the only place that
// knows gofuzz, which is archived: whatever replaces it has to keep this signature.
func steps(data []byte) (s []step) {
	gofuzz.NewFromGoFuzz(data).NilChance(0).NumElements(1, 80).Fuzz(&s)
	return s
}
