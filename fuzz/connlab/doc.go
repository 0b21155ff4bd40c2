// Command connlab is a laboratory for connections (package shmnet) whose peer is killed. It connects
// to victims, other processes, which it kills at a random moment: while the connection is made, while
// bytes go both ways, while calls sleep.
//
//	go run ./fuzz/connlab -mode all -short     in the gate
//	go run ./fuzz/connlab -mode all            5 000 kills of either side, 1 000 of servers and clients
//
// Modes server and client do the same with calls (package shmrpc): every call returns the right reply
// or an error that says what has become of it.
//
// The verdict: every call that was made on a connection with the victim ends and says that the peer is
// gone, every byte that came before is the one that was sent at that place, and nothing is left: no
// descriptor, goroutine or thread, no file. How long after the kill the calls ended is shown, not
// judged: a busy machine could spoil it.
package main
