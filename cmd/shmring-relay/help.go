package main

import "github.com/shmring/shmring/cmd/internal/cli"

const summary = "take rings from host to host over NATS JetStream"

// Help is that of the program itself.
const Help = `Usage: shmring relay COMMAND [flags]

Takes rings from one host to another over NATS JetStream, each message once, whoever
is killed meanwhile.

Commands
  out           publish what a ring gets into a JetStream stream
  in            send what a stream has into a ring
  help COMMAND  its flags

Examples
  shmring relay out -ring orders
  shmring relay in -ring copy -stream orders
  shmring relay out -ring orders -nats nats://hub:4222 -replicas 3 -creds app.creds
`

const outSummary = "publish what a ring gets into a JetStream stream"

const outHelp = `Usage: shmring relay out -ring NAME [flags]

Is the consumer of a ring, and publishes what it gets into a JetStream stream: in order,
each message once, with its position in headers. What the server has acknowledged is
released. Whatever is killed, it goes on behind the last message that the stream has. A
message that is longer than the server's max_payload is refused, and stays in the ring.

Without -nats it runs a server itself, for trying it: its store is in the directory of
-embed, and it listens on the loopback interface only.

`

const outOwn = `  -subject SUBJECT    publish under this; ends of streams under SUBJECT.end.> (default
                      shmring.STREAM)
  -origin NAME        what this relay calls itself in the stream; the same after a
                      restart (default HOST/RING)
  -retention limits   a stream that is made keeps what its limits allow (default)
  -retention interest
                      it keeps what not all of its consumers have got
  -retention workqueue
                      it keeps what its consumer has not got
  -replicas N         on how many servers of a cluster a stream that is made is kept
                      (default 1)
  -max-bytes BYTES    how much a stream that is made holds; then producers wait, or, with
                      -retention limits and -discard old, the oldest is dropped
  -max-age DURATION   for how long
  -discard new|old    what a full stream refuses, or drops (default new)
  -no-create          a stream that is not there is an error
  -batch N            ask for an acknowledgement behind so many messages at the latest
                      (default 256)
  -pack               put small messages together into one: for readers that are a
                      relay
  -message-ids        give each message an id of its ring and position (Nats-Msg-Id)
  -resend             where the newest message of the stream was deleted, store again
                      what may have been stored
  -embed DIR          the store of the server that is run without -nats (default
                      shmring-relay in the user's cache directory)
  -listen HOST:PORT   where it listens (default 127.0.0.1:4222)
`

const inSummary = "send what a JetStream stream has into a ring"

const inHelp = `Usage: shmring relay in -ring NAME -stream STREAM [flags]

Is a producer of a ring, and sends into it what a stream has, each message once: what it
is about to send it notes in a file beside the ring. Several of them fill one ring of
-kind mpsc. While the ring is full it reads no more. Messages that were deleted from the
stream before they were read are an error.

`

const inOwn = `  -durable NAME       what this relay is to the server; another for each (default
                      HOST_RING)
  -skip-gaps          go on behind messages that are gone, and count them
  -with-origin        put before each message of which relay, ring, position and producer
                      it is, for relay.SplitOrigin: it becomes at least 40 bytes longer
  -uncertain fail|send|skip
                      what to do with the one message of which it cannot be known
                      whether it was sent: that happens when a relay was killed, and its
                      ring removed (default fail)
`

const bothHelp = `  -nats URL           the server, or several with commas between them: nats://, tls:// or
                      ws:// (default of in: nats://127.0.0.1:4222)
  -creds FILE         credentials of the account
  -user NAME, -password-file FILE
                      a name and a password, where the server wants those
  -tls-ca FILE        who has signed the server's certificate
  -tls-cert FILE, -tls-key FILE
                      our own certificate
  -mark-dir DIR       where the file is in which the relay notes what it sends (default
                      beside the ring)
  -stream STREAM      which stream (default of out: the ring's name)
  -in-flight N        how many messages may be under way (default out 4096, in 1024)
  -patience DURATION  give up after the server was away or full for so long (default
                      never)
  -until-end          end with the streams of the ring that is sent (out: with -nats only)
  -metrics HOST:PORT  serve counters to Prometheus under /metrics
`

const exitHelp = `
` + cli.ExitCodes + `  10   the stream is not what it was: messages are missing, or are another's
`
