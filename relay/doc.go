// Package relay takes rings from one host to another over NATS JetStream, each message once.
//
// [Out] is the consumer of a ring: it publishes what it gets into a JetStream stream, in order.
// [In] is a producer of a ring: it sends what it reads of such a stream into a ring on its host. A
// producer before Out and a consumer behind In are what they were; they know nothing of a relay.
//
//	producer → ring → Out → JetStream → In → ring → consumer
//
// # Once
//
// Whoever is killed, whenever, and however often (producer, Out, server, In, consumer): each
// message of the ring is stored once in the stream, and sent once into the other ring. No window of
// time is behind that. Out is the only writer of its stream, and says with each message which
// sequence the stream's last one has to have; a message that comes late, twice, or behind one that
// was lost is refused by the server. What is stored says by a header ([Sender]) which message of which
// ring it is, and Out goes on behind it. In notes in a small file beside its ring what it is about to
// send, and where, before it commits; after a kill it asks the ring whether that was sent.
//
// What a producer sent is released from its ring when the server has acknowledged it. The stream of
// the server is then its only place: give it replicas where one disk is not enough.
//
// # Order
//
// The messages of a ring have the same order in the stream, and the stream's order is that of the
// other ring. So one ring to many hosts (an In on each, with a durable name of its own) is the same
// sequence on each host, each at its own pace. Many rings to one is one stream and one In for each,
// all of them producers of one MPSC ring: the order of each ring stays, and between them there is none. With
// [InOptions].Origin each message says which of them it is from ([SplitOrigin]).
//
// # Ends
//
// How streams of a ring's producers end is relayed as what it is: an end, a failure, a death. In ends
// its own stream likewise, so a consumer behind it gets io.EOF, [shmring.ErrFailed] or
// [shmring.ErrPeerDead] behind the last message that came before. An In that is killed is itself a
// producer that died; its successor goes on where it was. Ends are relayed at least once.
//
// # Sizes
//
// A message longer than the server's max_payload is refused, with a [*PayloadError], and stays in its
// ring: it is not split, so that every reader of the stream sees messages. With [OutOptions].Pack small
// messages travel many in one, which only In understands.
//
// # Waiting
//
// While the server is away, full, or without a leader, Out and In wait, as long as their context and
// Options.Patience allow, and tell OnTrouble. What waits meanwhile waits in the ring; a producer
// before a full ring waits, as it does without a relay. An In whose ring is full pulls no more than it
// holds already, and refuses nothing. It never sends a negative acknowledgement.
package relay
