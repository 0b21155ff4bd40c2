// Package demo is the command shmring demo: producers and consumers as processes of
// their own, what they move checked to the last byte, and how fast it goes.
//
// The processes are this program again, started with [ChildCommand] and a job as
// JSON. Each ends when its standard input does, so none outlives the one that
// started it.
package demo
