// Package stream measures how fast messages go from one process, or from several, to
// another that reads every byte of them.
package stream
