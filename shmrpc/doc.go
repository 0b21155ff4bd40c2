// Package shmrpc has requests and replies over connections in shared memory (package shmnet): a
// [Server], and a [Client] that connects anew when the server was restarted.
//
// Each client has a connection of its own, so no reply can get to another client, whatever anybody
// writes, and who is dead is known. Requests of one client carry numbers, and any number of goroutines
// may make calls at the same time; there is no goroutine that reads for them: of those that wait, one
// reads for all. (There is one while a request is sent, if a reply is to come to a call that was cancelled.)
//
// A message on a connection is a frame, little-endian:
//
//	offset  size  what
//	     0     1  kind: 1 request, 2 reply, 3 error, 4 cancel
//	     1     1  1: more of this payload comes in the next frame
//	     2     2  0
//	     4     4  method of a request, code of an error
//	     8     8  number of the request
//	    16     8  of a request: nanoseconds until its deadline, or 0
//	    24     8  length of the whole payload
//	    32        payload, or a piece of it
//
// The pieces of a payload that does not fit into one message follow each other.
package shmrpc
