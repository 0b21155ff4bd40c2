// Package workers is what the measuring commands of shmring have in common: processes
// that each do one job, on rings in a directory of their own, and a bar that shows how
// far it is.
//
// The processes are this program again, started with a hidden subcommand and a job as
// JSON. Each ends when its standard input does, so none outlives the one that started
// it.
package workers
