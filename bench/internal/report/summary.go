package report

import (
	"fmt"
	"strings"
)

// Summary is what a run says at its end.
func Summary(r *Report) string {
	var b strings.Builder
	met, missed, open := 0, 0, 0
	fmt.Fprintf(&b, "%-38s %-44s %9s\n", "work", "target", "measured")
	for _, t := range r.Targets {
		verdict, measured := "?", "–"
		switch {
		case t.Met == nil:
			open++
		case *t.Met:
			met++
			verdict = "met"
		default:
			missed++
			verdict = "MISSED"
		}
		if t.Measured != nil {
			measured = digits(*t.Measured)
		}
		fmt.Fprintf(&b, "%-38s %-44s %9s  %s\n", t.Work, t.Target, measured, verdict)
		if t.Met == nil {
			fmt.Fprintf(&b, "    %s\n", t.Detail)
		}
	}
	fmt.Fprintf(&b, "\n%d targets met, %d missed, %d not measured; %d cells, %d rounds, %.0f s\n", met, missed, open,
		len(r.Cells), r.Settings.Rounds, r.Seconds)
	for _, c := range r.Cells {
		if c.Error != "" {
			fmt.Fprintf(&b, "%v failed: %s\n", c.Key(), c.Error)
		}
	}
	for _, a := range r.Absent {
		fmt.Fprintf(&b, "absent: %s: %s\n", a.Transport, a.Reason)
	}
	if line := aptLine(r); line != "" {
		fmt.Fprintf(&b, "to have them: %s\n", line)
	}
	return b.String()
}

// aptLine is the command that installs what was missing.
func aptLine(r *Report) string {
	var names []string
	seen := map[string]bool{}
	for _, a := range r.Absent {
		for name := range strings.FieldsSeq(a.Package) {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "apt-get install " + strings.Join(names, " ")
}
