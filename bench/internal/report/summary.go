package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shmring/shmring/bench/internal/placement"
)

// Summary is what a run says at its end.
func Summary(r *Report) string {
	var b strings.Builder
	for _, line := range r.Placements.Lines() {
		fmt.Fprintln(&b, line)
	}
	met, missed, open := 0, 0, 0
	fmt.Fprintf(&b, "\n%-36s %-48s %-28s %s\n", "work", "target", "near: measured, by target", "far: measured, by target")
	for _, t := range r.Targets {
		var sides [2]string
		var why []string
		for i, p := range placement.Both {
			v := t.in(p)
			switch {
			case v == nil:
			case v.Met == nil:
				open++
				sides[i] = "–"
				if v.Detail == notSeen {
					sides[i] = "not seen"
				} else if !slices.Contains(why, v.Detail) {
					why = append(why, v.Detail)
				}
			case *v.Met:
				met++
				sides[i] = fmt.Sprintf("%s %6.2f met", digits(*v.Measured), *v.Ratio)
			default:
				missed++
				sides[i] = fmt.Sprintf("%s %6.2f MISSED", digits(*v.Measured), *v.Ratio)
			}
		}
		fmt.Fprintf(&b, "%-36s %-48s %-28s %s\n", t.Work, t.Target, sides[0], sides[1])
		for _, w := range why {
			fmt.Fprintf(&b, "    %s\n", w)
		}
	}
	fmt.Fprintf(&b, "\n%d verdicts met, %d missed, %d not measured; %d cells, %d rounds, %.0f s\n", met, missed, open,
		len(r.Cells), r.Settings.Rounds, r.Seconds)
	for _, c := range r.Cells {
		switch {
		case c.Error != "" && len(c.Rounds) > 0:
			fmt.Fprintf(&b, "%v has figures of %d rounds, and failed in another: %s\n", c.Key(), len(c.Rounds), c.Error)
		case c.Error != "":
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
