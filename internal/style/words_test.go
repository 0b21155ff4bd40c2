package style

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// retired are words that this project once used for things that the field, or the
// GLOSSARY, calls otherwise. They are found in names and in prose, also as a part of a
// name: "mourn" is found in mournAll and in didMourn, not in mourning.
var retired = map[string]string{
	"obituary": "death record", "mourn": "report a death", "mourned": "reported", "corpse": "crashed process",
	"bury": "retire",
	"heir": "successor", "upkeep": "maintain", "courtesy": "priority claim", "lull": "backoff", "chase": "backoff",
	"eagerness": "adaptive spin", "rouse": "notify", "rescues": "timeout wakeups", "poke": "notify file",
	"poison": "fail", "poisoned": "closed by a failure", "halted": "closed", "unfence": "clear the revocation",
	"errand": "pending error", "blinded": "unsubscribed", "uncounted": "counter deltas",
	"janitor": "cleaner", "puppet": "worker", "tempest": "stress", "weather": "stress", "duel": "contender",
	"tenure": "incarnation", "crew": "runner", "actor": "worker", "battle": "setup",
	"yardstick": "baseline", "vouched": "trusted owner",
}

// phrases are retired too, in prose and in names of any case.
var phrases = map[string]string{
	`\bsendQuick\b`:         "fast path",
	`who lives is told by`:  "say who tells whom",
	`SHMRING_WAIT\b`:        "SHMRING_DOORBELL",
	`\bWaitFlock\b`:         "DoorbellPoll",
	`\b(Halt|HaltAndEnd)\(`: "Close",
}

// exempt are files that speak of the old words on purpose.
var exempt = map[string]bool{
	"CHANGELOG.md":                 true, // says what was renamed
	"internal/style/words_test.go": true,
}

// wordsOf splits text into lower-case words, and names into theirs: readPos is read, pos.
func wordsOf(text string) []string {
	var words []string
	var word []rune
	end := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	var before rune
	for _, r := range text {
		switch {
		case !unicode.IsLetter(r):
			end()
		case unicode.IsUpper(r) && !unicode.IsUpper(before):
			end()
			word = append(word, r)
		default:
			word = append(word, r)
		}
		before = r
	}
	end()
	return words
}

// retiredWords returns where a file uses words that are retired.
func retiredWords(f file) (found []string) {
	n := 0
	for line := range strings.Lines(f.text) {
		n++
		for _, word := range wordsOf(line) {
			if instead, ok := retired[word]; ok {
				found = append(found, fmt.Sprintf("%s:%d: %q is retired, say %q", f.path, n, word, instead))
			}
		}
		for phrase, instead := range phrases {
			if ok, _ := regexp.MatchString(phrase, line); ok {
				found = append(found, fmt.Sprintf("%s:%d: %q is retired, say %q", f.path, n, phrase, instead))
			}
		}
	}
	return found
}

func TestRetiredWords(t *testing.T) {
	var found []string
	for _, f := range tree(t) {
		if !exempt[f.path] && !strings.HasPrefix(f.path, "docs/bench") && !strings.Contains(f.path, "testdata/") {
			found = append(found, retiredWords(f)...)
		}
	}
	require.Empty(t, found, strings.Join(found, "\n"))
}

func TestRetiredWordsAreSeen(t *testing.T) {
	for text, want := range map[string]int{
		"a corpse": 1, "theCorpse": 1, "Corpse_2": 1, "SHMRING_WAIT=sysv": 1, "p.Halt()": 1,
		"mourning": 0, "quicker": 0, "SHMRING_WAITING": 0, "default": 0,
	} {
		require.Len(t, retiredWords(file{path: "a.md", text: text}), want, text)
	}
	require.Equal(t, []string{"the", "read", "pos", "of", "mpsc"}, wordsOf("the readPos of MPSC"))
}
