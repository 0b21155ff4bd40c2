// Package cli is what the programs of this module have in common: exit codes, flags
// that describe a ring, signals, timeouts, progress and the summary at the end.
package cli
