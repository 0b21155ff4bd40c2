package report

import (
	"fmt"
	"math"
)

// ns writes nanoseconds with a unit and three digits.
func ns(v float64) string {
	switch {
	case v == 0 || math.IsNaN(v):
		return "–"
	case v < 1e3:
		return digits(v) + " ns"
	case v < 1e6:
		return digits(v/1e3) + " µs"
	case v < 1e9:
		return digits(v/1e6) + " ms"
	}
	return digits(v/1e9) + " s"
}

func digits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// rate writes something per second.
func rate(v float64, unit string) string {
	switch {
	case v == 0 || math.IsNaN(v):
		return "–"
	case v >= 1e9:
		return digits(v/1e9) + " G" + unit
	case v >= 1e6:
		return digits(v/1e6) + " M" + unit
	case v >= 1e3:
		return digits(v/1e3) + " k" + unit
	}
	return digits(v) + " " + unit
}

func optional(v *float64) string {
	if v == nil {
		return "–"
	}
	if *v < 0.005 {
		return "0"
	}
	return fmt.Sprintf("%.2f", *v)
}

func size(n int) string {
	switch n {
	case 0:
		return "–"
	case mib:
		return "1 MiB"
	}
	return fmt.Sprintf("%d B", n)
}
