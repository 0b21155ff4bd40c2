// Bench measures shmring beside the limits of the machine and beside everything else
// that moves messages on one host.
//
//	go run . -quick -json out.json             # the targets, in less than six minutes
//	go run . -json full.json -md ../docs/BENCHMARKS.md -plots ../docs/bench
//	go run . -from full.json -md page.md       # the page again, without measuring
//	go run . -quick -compare out.json          # what has changed since
//	go run . -run 'stream/32/(shmring|pipe)/'  # some of it
//	go run . -quick -peers DIR                 # and the programs in DIR: PEERS.md
//	go run . -quick -gap-of out.json           # near or far, where a run sees one of them only
//	go run . -counts                           # instructions, LOCKed ones, system calls, allocations
//	go run ./beside                            # what a stream loses to those who look at it
//	go run . -help
//
// It measures in rounds: each round runs every combination of work, size, transport and
// place once, in random order, as processes of their own. What a work is, and what is
// measured, stands in internal/work; the transports in internal/runner; the rivals in C++,
// and raw-c, the ring without guarantees, in internal/rival/src; the page in
// internal/report/page.md.tmpl.
//
// Before and after each sample a probe (internal/placement) finds out how far apart the host
// has the two processors. Figures are of samples that were near throughout, or far throughout;
// others are dropped and counted. A placement that a run has not seen has no figures.
//
// Nothing is left behind, also when it is killed: a second process sees to that.
package main
