// Package load makes messages of which every byte can be foretold, and checks them.
//
// A message is identified by its producer and its number in that producer's stream,
// from 0 on. All else follows from these two:
//
//	24 bytes and more   producer id u64 | number u64 | length u32 | CRC-32C u32 | pattern
//	8 to 23 bytes       number u48 | check u16 | pattern
//	1 to 7 bytes        the number's low bytes
//	0 bytes             nothing: only their count can be checked
//
// All numbers are little-endian. The id is random; messages too short for it go by
// the producer's slot in the ring. The CRC covers the message without itself. The
// pattern is cut from a block of random bytes that every process makes from the same
// seed, at an offset that depends on producer, number and place, so that a piece of
// another message is noticed wherever it comes to lie.
//
// The first message of a stream is of kind First. Behind the last one comes one more,
// of kind Last, whose number is how many there were: the loss of a stream's end shows.
package load

// Kinds of messages, as the ring carries them.
const (
	Data  uint16 = 0
	First uint16 = 1
	Last  uint16 = 2
)
