// Package demo is the command shmring demo: producers and consumers as processes of
// their own, what they move checked to the last byte, and how fast it goes.
package demo
