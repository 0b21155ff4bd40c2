// Package bench is the command shmring bench: how fast messages go from process to process
// on this machine, over a ring as its user would have it and over a Unix socket beside it.
//
// All is measured in rounds, one measurement after the other in each, by processes of their
// own, so that what the machine does beside it falls on all of them. What is shown is the
// median over the rounds, with the lowest and the highest; ratios are made within a round.
package bench
