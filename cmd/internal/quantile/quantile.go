// Package quantile sums up samples of which there are a few, or many.
package quantile

import "slices"

// Of is the least of sorted values that q percent of them do not exceed; 0 of none.
func Of[T int64 | float64](sorted []T, q int) T {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*q+99)/100-1)]
}

// Median is that of values in any order; 0 of none.
func Median[T int64 | float64](values []T) T {
	return Of(slices.Sorted(slices.Values(values)), 50)
}

// Spread is a median with the lowest and the highest value behind it.
type Spread struct {
	Median  float64 `json:"median"`
	Lowest  float64 `json:"lowest"`
	Highest float64 `json:"highest"`
}

// SpreadOf is all 0 of none.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	return Spread{Median(values), slices.Min(values), slices.Max(values)}
}
