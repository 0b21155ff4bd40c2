// Package recording writes what an observer saw of a ring to files, and reads it back.
//
// A recording is one file, or several parts of which all but the newest have been rotated away. The bytes of
// one, all numbers little-endian:
//
//	0   magic     "shmrrec1"
//	8   length u32, checksum u32 of the header
//	16  header    JSON, see Header
//	    items, one behind the other, to the end of the file
//
// and those of an item:
//
//	0   checksum u32 of the bytes 4 to 56
//	4   length   u32 of the payload
//	8   checksum u32 of the payload
//	12  kind     u16 of the message
//	14  what     u16: 0 a message, 1 an end
//	16  record   u64, and
//	24  index    u64: the message's position
//	32  time     i64: when it was seen, in ns since 1970
//	40  sequence u64: number of the message since the ring was made
//	48  missed   u64: messages that were missed right before it
//	56  payload  the message; of an end, the reason in words
//
// Checksums are CRC-32C. An item has two, so that a length that was damaged is not taken for a file that was
// cut off.
//
// Items are appended and never changed, and a part gets its name when its header is whole. So whoever writes may be
// killed at any byte: the file then has a torn tail, a part of an item, and all before it can be read. A
// tail of zeros is what a machine that lost its power may leave; that is torn as well. Anything else
// that does not fit its checksum is a *CorruptError, which says where. An end says why nobody wrote any
// further; a recording that goes on later has items behind it.
//
// The newest part has the recording's name. Rotation writes an end, renames the part to NAME.000001 and
// so on, counted by the header's Part, and creates the next one.
package recording
