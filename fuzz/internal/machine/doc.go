// Package machine is what the laboratories below fuzz need to know of the machine: its
// clock, how busy it is, and what a process holds.
package machine
