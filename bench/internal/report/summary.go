package report

import (
	"fmt"
	"strings"
)

// Summary is what a run says at its end.
func Summary(r *Report) string {
	var b strings.Builder
	for _, line := range r.Placements.Lines() {
		fmt.Fprintln(&b, line)
	}
	met, missed, open := 0, 0, 0
	fmt.Fprintf(&b, "\n%-38s %-44s %-5s %9s %7s\n", "work", "target", "", "measured", "ratio")
	for _, t := range r.Targets {
		for _, v := range t.Verdicts {
			verdict, measured, ratio := "?", "–", "–"
			switch {
			case v.Met == nil:
				open++
			case *v.Met:
				met++
				verdict = "met"
			default:
				missed++
				verdict = "MISSED"
			}
			if v.Measured != nil {
				measured, ratio = digits(*v.Measured), fmt.Sprintf("%.2f", *v.Ratio)
			}
			fmt.Fprintf(&b, "%-38s %-44s %-5s %9s %7s  %s", t.Work, t.Target, v.Placement, measured, ratio, verdict)
			if v.Met == nil {
				fmt.Fprintf(&b, "  %s", v.Detail)
			}
			fmt.Fprintln(&b)
		}
	}
	fmt.Fprintf(&b, "\n%d verdicts met, %d missed, %d not measured; %d cells, %d rounds, %.0f s\n", met, missed, open,
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
