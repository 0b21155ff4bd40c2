package cli

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	manFlag    = regexp.MustCompile(`^  (\S.*?)(?:  +(\S.*))?$`)
	manSection = regexp.MustCompile(`^[A-Z][A-Za-z, ]{0,30}$`)
)

// Man turns a help text into a manual page. It knows what our helps are made of: a usage
// line, paragraphs, sections with a heading alone on its line, entries that are indented by
// two blanks and go on further to the right, and examples.
func Man(name, summary, help string) string {
	var b strings.Builder
	page := strings.ReplaceAll(name, " ", "-")
	fmt.Fprintf(&b, ".TH %s 1 \"\" shmring\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n", strings.ToUpper(page), page, summary)
	usage, rest, _ := strings.Cut(help, "\n")
	fmt.Fprintf(&b, ".B %s\n.SH DESCRIPTION\n", manText(strings.TrimPrefix(usage, "Usage: ")))
	section, blank := "", true
	for line := range strings.Lines(strings.TrimLeft(rest, "\n")) {
		line = strings.TrimRight(line, "\n")
		entry := manFlag.FindStringSubmatch(line)
		switch {
		case line == "":
			blank = true
			continue
		case blank && manSection.MatchString(line):
			section = line
			fmt.Fprintf(&b, ".SH %s\n", strings.ToUpper(line))
		case section == "Examples":
			fmt.Fprintf(&b, ".PP\n.nf\n.B %s\n.fi\n", manText(strings.TrimSpace(line)))
		case entry != nil && line[2] != ' ':
			fmt.Fprintf(&b, ".TP\n.B %s\n", manText(entry[1]))
			if entry[2] != "" {
				fmt.Fprintf(&b, "%s\n", manText(entry[2]))
			}
		default:
			if blank {
				b.WriteString(".PP\n")
			}
			fmt.Fprintf(&b, "%s\n", manText(strings.TrimSpace(line)))
		}
		blank = false
	}
	return b.String()
}

// manText keeps roff from reading anything into a text.
func manText(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
