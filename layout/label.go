package layout

import (
	"encoding/binary"
	"strings"
	"structs"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

// LabelSize is how many bytes a Label has room for.
const LabelSize = 32

// Label is a short text for people, in words that others may read meanwhile: what they read may
// be half of one label and half of the next.
type Label struct {
	_ structs.HostLayout
	w [LabelSize / 8]atomic.Uint64
}

// Store writes a text, or as much of it as there is room for, without half a character.
func (l *Label) Store(text string) {
	if n := LabelSize; len(text) > n {
		for n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	var b [LabelSize]byte
	copy(b[:], text)
	for i := range l.w {
		l.w[i].Store(binary.NativeEndian.Uint64(b[8*i:]))
	}
}

// Load reads the text. Whoever wrote it may have written anything: what cannot be printed is a
// question mark.
func (l *Label) Load() string {
	var b [LabelSize]byte
	for i := range l.w {
		binary.NativeEndian.PutUint64(b[8*i:], l.w[i].Load())
	}
	text, _, _ := strings.Cut(string(b[:]), "\x00")
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
