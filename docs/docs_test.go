package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// papers are the pages of the project, by path from its root. BENCHMARKS.md is made by a
// program.
func papers(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for _, glob := range []string{"../*.md", "*.md"} {
		found, err := filepath.Glob(glob)
		require.NoError(t, err)
		for _, path := range found {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			pages[path] = string(text)
		}
	}
	require.Contains(t, pages, "LAYOUT.md")
	require.Contains(t, pages, "../README.md")
	return pages
}

// source is all Go text of the checkout.
func source(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir("..", func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || filepath.Base(path) == "docs_test.go" {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	require.NoError(t, err)
	return all.String()
}

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	file     = regexp.MustCompile("`((?:[a-z]+/)*[a-z_0-9]+\\.(?:go|md|pml|py|json|bin))`")
	folder   = regexp.MustCompile("`(?:\\./)?((?:ring|layout|shm|doorbell|futex|fuzz|internal|examples)/[a-z/]*[a-z])[ `]")
	variable = regexp.MustCompile(`\bSHMRING_[A-Z_]*[A-Z]\b`)
	sentinel = regexp.MustCompile("`(?:\\w+\\.)?(Err[A-Z]\\w+)`")
	typeName = regexp.MustCompile("`\\*?([A-Z]\\w*Error)`")
	heading  = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// anchors are the fragments that lead into a page, as GitHub makes them of its headings.
func anchors(page string) map[string]bool {
	found := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(page, -1) {
		text := strings.ToLower(h[1])
		text = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(text, "")
		found[strings.ReplaceAll(text, " ", "-")] = true
	}
	return found
}

func TestLinks(t *testing.T) {
	pages := papers(t)
	for path, text := range pages {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, ":") {
				continue // another site
			}
			to := path
			if target != "" {
				to = filepath.Join(filepath.Dir(path), target)
			}
			require.FileExists(t, to, "%s links to %s", path, m[1])
			if page, ours := pages[to]; ours && fragment != "" {
				require.True(t, anchors(page)[fragment], "%s links to %s, which has no such heading", path, m[1])
			}
		}
	}
}

// A file is named from the project's root, from the page, or, in ring's list, from ring. Lines
// that say <!-- check --> wait for somebody to look.
func TestFiles(t *testing.T) {
	unchecked := regexp.MustCompile("(?m)^.*<!-- check -->.*$")
	for path, text := range papers(t) {
		text = unchecked.ReplaceAllString(text, "")
		for _, m := range append(file.FindAllStringSubmatch(text, -1), folder.FindAllStringSubmatch(text, -1)...) {
			there := false
			for _, from := range []string{"..", ".", "../ring"} {
				_, err := os.Stat(filepath.Join(from, m[1]))
				there = there || err == nil
			}
			if !there {
				t.Errorf("%s names %s, which is not there", path, m[1])
			}
		}
	}
}

func TestNames(t *testing.T) {
	code := source(t)
	for path, text := range papers(t) {
		if strings.HasSuffix(path, "CHANGELOG.md") {
			continue // it also tells of what was
		}
		for _, name := range variable.FindAllString(text, -1) {
			if !strings.Contains(code, name) {
				t.Errorf("%s names the variable %s, which no program reads", path, name)
			}
		}
		for _, m := range sentinel.FindAllStringSubmatch(text, -1) {
			require.Regexp(t, fmt.Sprintf(`(?m)^\s*(var )?%s\s.*=`, m[1]), code, path)
		}
		for _, m := range typeName.FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`\b` + m[1] + `\s+(struct|=)`).MatchString(code) {
				t.Errorf("%s names the type %s, which is not there", path, m[1])
			}
		}
	}
}

func TestReadmeIsShort(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	require.LessOrEqual(t, strings.Count(string(text), "\n"), 200)
}

// Each test that SECURITY.md leans on is there.
func TestSecurityNamesTests(t *testing.T) {
	all := source(t)
	names := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(papers(t)["../SECURITY.md"], -1)
	require.Greater(t, len(names), 20)
	for _, name := range names {
		require.True(t, strings.Contains(all, "func "+name+"("), name)
	}
}

// OPERATIONS.md says of each verdict what it means, and of no other.
func TestOperationsNamesVerdicts(t *testing.T) {
	first := func(pattern, text string) (list []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			list = append(list, m[1])
		}
		return list
	}
	_, section, _ := strings.Cut(papers(t)["OPERATIONS.md"], "\n## What is the matter\n")
	section, _, _ = strings.Cut(section, "\n## ")
	codes := first(`VerdictCode += "([a-z-]+)"`, source(t))
	require.Greater(t, len(codes), 20)
	require.ElementsMatch(t, codes, first("(?m)^\\| `([a-z-]+)` ", section))
}
