// Package shmnet has connections over shared memory: [Listen], [Dial], and a [Conn] that is a
// net.Conn, for programs that speak HTTP, gRPC or a protocol of their own with others on the same
// host. A connection is a pair of sealed rings (package shmring), one for each direction, and two
// Unix sockets that carry no data. While both sides are awake no call enters the kernel; when all
// processes that have a connection are gone, whatever they died of, nothing is left of it.
//
// # How a connection comes about
//
//	dialer                                listener
//	connects to a Unix socket        →    accepts; looks who that is (SO_PEERCRED)
//	looks who that is                     makes two sealed rings and a pair of sockets, takes its roles
//	                                 ←    an offer with three descriptors: a ring to read, one to write, a socket
//	checks them, takes its roles     →    an answer
//
// The two sockets stay. The one that was dialed rings the bell of readers, the other that of
// writers: a byte says that somebody who sleeps had better look at its ring. When a process
// dies the kernel closes its sockets, which the other side is told at once.
//
// # Sleeping
//
// A call that has to wait looks for a moment, goes on looking while that pays, lets other goroutines
// run meanwhile, and then sleeps: it says so in the ring's bell word (edge B of package ring), looks
// once more, and waits for its socket to become readable. The Go runtime does that for all connections
// of a process with one thread. One goroutine of a process watches all its connections for peers that
// are gone.
package shmnet
