// Package wait is the command shmring wait: what each way of waiting costs here and
// what it gives, from process to process.
//
// All ways are measured in rounds, one after the other in each, so that what the machine
// does beside it falls on all of them. What is shown is the median over the rounds, or
// of the samples of all rounds where one round has too few; ratios are made within a
// round.
package wait
