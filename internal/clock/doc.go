// Package clock has the clocks that measurements between processes need: one that all
// processes share, and the processor time of this one.
package clock
