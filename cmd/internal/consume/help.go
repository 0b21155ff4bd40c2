package consume

import "github.com/shmring/shmring/cmd/internal/cli"

const help = `Usage: consumer -ring NAME [flags]

Receives the records of a shared memory ring and writes them to standard output. It
waits for the ring to be created, and ends when the stream does.

A record is given back to the ring after it was written: whatever becomes of the
consumer, the next one goes on where it stopped, and nothing is lost. If it is killed
between the two, its successor writes about 64 KiB of records again at most, and counts
as redelivered what may have been written before.

Ring
` + cli.RingHelp + `  -create             create the ring if there is none, rather than wait for it
  -at-most-once       if the consumer before was killed, pass over what it may have
                      written, instead of writing it again; it may not have
` + cli.RingNote + `Without -create, the flags are conditions: another ring is refused.

Output
  -o FILE             write there instead of standard output. Lines go behind those
                      that are there; for another -frame a file that has something
                      is refused, unless one of the next two is given
  -append             write behind what is there, whatever the -frame
  -truncate           begin the file anew, each time the program starts
  -frame line         write a newline after each record (default)
  -frame len32        write its length before each record, 4 bytes little-endian
  -frame chunk=BYTES  write records one after the other (whatever BYTES is)
  -verify             write nothing: check the messages of producer -generate, and
                      end with code 4 if one is lost, damaged or out of order
A closed standard output is an error before anything is taken from the ring, and one that
others have made non-blocking is waited for. -o /dev/null throws records away.

End
  -count N            stop after N records
  -timeout DURATION   end with code 5 when nothing arrives for so long, as 5s
  -producers N        do not end before the streams of N producers are over: for those
                      that start late. One that died counts, and makes it code 3
  -follow             do not end when the stream does: wait for the next
  -on-death wait      when a producer died, say so and wait (default): for its
                      successor; on an mpsc ring or with -producers, for the others,
                      or for new ones where there are none, and end with code 3 when
                      theirs are over
  -on-death exit      end with code 3 then, behind what it had sent
  -no-producer wait   wait while no producer is attached (default)
  -no-producer fail   end with code 9 when the ring is empty then, also at the start
A stream whose producer says that it is not the whole, because its input failed or was
cut off, ends the consumer with code 8, unless -follow says to wait for the next; where
others go on it does so at the end.
  -cpu N              stay on processor N

Report
` + cli.OutHelp + `
What it waits for it says after a second, and again once a minute: the ring to be
created, the role, or a producer.

The first SIGINT, SIGTERM or SIGHUP takes what is in the ring, writes it, and ends. A
second one, half a second after the first or later, ends the program at once. With
-o FILE, SIGHUP does not end it but opens FILE anew, as it is when logs are rotated; not
if it comes because the terminal is gone.

` + cli.ExitCodes + `
Examples
  consumer -ring log >> app.log
  consumer -ring backup -frame chunk=64K -o copy
  consumer -ring jobs -producers 4 -timeout 1m | sort | uniq -c
  consumer -ring test -verify -json
`
