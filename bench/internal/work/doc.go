// Package work is what a transport is measured with: messages, and the workers that
// send and receive them. Package rival/src has the same in C++, over the same
// protocol.
//
// # Works
//
//	rtt      one message is out at a time: ping sends, echo sends it back. Nobody sleeps
//	         who can help it
//	blocked  the same, but whoever waits sleeps at once
//	oneway   a message every Pace; its first word is the time at which it was sent
//	wake     the same, but the sender sleeps between messages and the receiver has long
//	         gone to sleep as well
//	stream   messages as fast as they go, a call for each on both sides
//	batch    the sender publishes Batch messages at a time, the receiver takes what is
//	         there; Batch 1 is one publish each
//	mpsc     stream with several senders
//	mixed    stream of messages of 8 to 4088 bytes, most of them short
//
// # Messages
//
// The first word is the index of the sender in the top byte and a sequence number in
// the rest, or for oneway and wake the time by CLOCK_MONOTONIC. All ones in those 56
// bits is the end of the sender's messages. Receivers check the sequence at all times.
// With Verify the rest is a pattern that depends on the first word, and every byte is
// checked.
//
// # Protocol
//
// A worker is a process started with its Job as arguments of the form key=value. It
// opens its ends, prints "ready", waits for a line on its standard input, does its
// work, prints a JSON list of results, and ends when its standard input does, which is
// when all have done. Transports that live in one process get one
// job with the role "all", which is the workers as threads or goroutines.
//
// # What is measured
//
// Rates are measured by the receiver, between the fifth of the time that warms up and
// the first end of a sender; the times of every 64 messages (every one above 4 KiB) make
// their percentiles. For rtt and blocked blocks of 32 trips are timed in turn: one trip by
// trip, for the percentiles, which include a look at the clock; one all together, for the
// mean per trip, which does not, and which a clock that ticks every 10 ns does not round.
// Whoever receives copies every byte out of the transport, and who works in place reads a
// byte of every cache line. Processor time, context switches and allocations are those of the whole
// process from "go" to the end.
package work
