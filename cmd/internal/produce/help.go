package produce

import "github.com/shmring/shmring/cmd/internal/cli"

const help = `Usage: producer -ring NAME [flags] [FILE ...]

Sends the records of the files in order, or of standard input, into a shared memory
ring. Producer and consumer may start in either order. At the end it ends its stream,
so that the consumer ends too.

Ring
` + cli.RingHelp + cli.RingNote + `
Input
  -frame line         a record is a line without its newline (default)
  -frame len32        a record follows its length, 4 bytes little-endian
  -frame chunk=BYTES  a record is BYTES bytes; the last of a file may be shorter
  -long split         send a line that is longer than the ring's messages in pieces, as
                      records of their own: nothing is lost (default)
  -long cut           send its begin, as much as fits
  -long skip          do not send it
  -long fail          end with code 1
  -count N            stop after N records; the pieces of a long line are records
  FILE                - is standard input
  -drain DURATION     when SIGTERM comes, go on until the input ends, for at most so
                      long, as whoever writes it may have last words; for pipes and
                      sockets (default 5s; 0s: stop at once)

Sending
  -full block         wait while the ring is full (default)
  -full fail          end with code 6 when it is
  -full drop          drop the record and count it
  -no-consumer wait   go on while no consumer is attached, as long as there is room
                      (default)
  -no-consumer fail   end with code 9 then: at the start, or with the next record
  -also RING[=block|drop|disconnect]
                      send all records to that ring too, for a consumer of its own. When it
                      is full: wait (default), leave the record out there, or give it up.
                      A record goes first to the rings that have room. As often as needed
  -timeout DURATION   end with code 5 when nothing can be sent for so long, as 5s
  -batch N            pack up to N records that have been read already into one:
                      faster for short records; a consumer that stops or dies
                      inside of it leaves all of it to its successor
  -no-end             do not end the stream at the end: a successor goes on with it
  -cpu N              stay on processor N

Load, instead of input
  -generate COUNT     send COUNT messages that consumer -verify can check; 0: until
                      interrupted
  -size BYTES         how long they are, or a range as 48-4096 (default 64)
  -rate N             how many a second; 0: as fast as possible (default)

Report
` + cli.OutHelp + `
When the ring has been full for a second it says why, and so it does while it waits for
the role.
Lines that were split, cut or skipped are counted, and do not change the exit code.

The first SIGINT, SIGTERM or SIGHUP stops the input (SIGTERM after -drain), sends what
was read, waits at most 2 s for room, and ends the stream. A second one, half a second
after the first or later, ends the program at once. A stream whose input did not come to
its end, because of a signal or an error, ends as one that is not the whole: see exit
code 8 of the consumer.

` + cli.ExitCodes + `
Examples
  producer -ring log < access.log
  producer -ring backup -frame chunk=64K -kind mpsc part1 part2
  tail -F app.log | producer -ring log -full drop -no-end
  app | producer -ring billing -also archive -also debug=drop
  producer -ring test -generate 1000000 -size 8-4096 -json
`
