// Package shmring moves messages between processes of one Linux host through a ring
// buffer in shared memory: no daemon, no cgo, no system call while both sides are awake.
//
//	p, err := shmring.OpenProducer(ctx, "orders", nil)       // one process
//	err = p.Send(ctx, []byte("hello"))
//
//	c, err := shmring.OpenConsumer(ctx, "orders", nil)       // another
//	n, err := c.Receive(ctx, buf)
//
// A ring is a file, by default in /dev/shm. It outlives its users: whoever comes next goes
// on where the last one stopped. It has one consumer, and one producer (SPSC) or many
// (MPSC). Programs that run are in the folder examples of the repository.
//
// # Delivery
//
// At least once, in order. A message that a Send returned nil for reaches a consumer even
// if the sender is killed at the next instruction. The consumer releases a message after
// it was handled (by Release, by coming back for the next one, or by the return of a
// handler). If it is killed before, the next consumer gets the message again, marked
// [Message.Redelivered]. That concerns at most the 64 messages (or the batch) that were not
// released yet. With [DeliveryAtMostOnce] the next consumer passes over them instead.
//
// Every message of a ring has a [Position] that never repeats. A sink that stores the
// ring's [Info].UUID and the last position together with its effect gets each effect once:
// see the example ExactlyOnce. The UUID belongs to it, because a ring that is removed and
// created again begins again with the same positions.
//
// Messages of one producer goroutine arrive in the order of its sends. What one producer
// sends is a stream. [Producer.CloseSend] and [Producer.Close] end it, and neither waits
// nor needs room: the consumer gets io.EOF behind the last message, for MPSC when the
// streams of all producers are over. A producer that dies without that gives a
// [*StreamError] behind its last message that matches [ErrPeerDead], and one that calls
// [Producer.FailSend], because what it sent is not the whole, one that matches
// [ErrFailed]. What a dead producer had claimed but not committed is passed over and
// counted. A consumer that gets one of these errors may go on: its next call waits for
// whoever comes. [Options].OnStreamEnd is told of every stream.
//
// # In place
//
// [Producer.Claim] and [Consumer.Next], [Consumer.Drain] and [Consumer.All] spare the
// copies: they give access to the ring's own memory. The bytes of a claim and of a message
// begin at a multiple of 8. Those of a message are valid until it is released.
//
// # Who is alive
//
// Each participant holds a lock on one byte of the ring's file as long as it is attached;
// where the system refuses such locks (OFD locks), by flock on a file of its own beside the
// ring. The environment variable SHMRING_LOCKS, ofd or flock, insists on a kind. A ring has
// the kind that it was created with, [Info].Locks, and a process that cannot use it, or was
// told another, gets [ErrUnsupported]. The kernel drops the lock when the process dies,
// whatever it died of, so nothing here depends on process ids, heartbeats or timeouts: a
// dead producer's claim is skipped, a slow or stopped one's never. It is shown, in
// [Stats].Stalled, and [ForceSkip] is for those who know that it will not be finished.
// Processes that are started inherit nothing, except that between fork and exec a child
// shares its parent's locks: for that moment a parent that dies may seem to live, and
// Remove may find a ring in use.
//
// Nobody has to clean up. Whoever opens a ring next frees what the dead left, and goes on;
// [Info].Recovered says so. [Recover] does it at once, [Resize] makes a ring anew with another
// geometry and all that is in it, and [Remove] removes a ring. They leave a ring alone that is
// in use. [Events] tells what has happened to a ring. [Inspect] and [List] look at rings from
// outside, in use or not, whoever they belong to, and say what is the matter; [Collect] finds what
// nobody needs any more. If the
// file is removed or replaced under its users, their blocked calls return [ErrOrphaned]
// within a fraction of a second, and so do the sends of producers that never block, within
// a second; Check tells consumers that never block.
//
// Peers tells who is attached to a ring, and [Options].OnPeer is told of those who come, go
// and die. A handle waits for whoever may come; with [NoPeerFail] it returns [ErrNoPeer]
// while nobody is at the other end.
//
// # Concurrency
//
// A [Consumer] and the [Producer] of an SPSC ring are for one goroutine at a time; the
// Producer of an MPSC ring is for any number. Close may be called at any time and from any
// goroutine; it ends blocked calls. Concurrent use that is not allowed panics where it is
// noticed.
//
// # Without a name
//
// [NewSealed] makes a ring in memory whose size nobody can change, so that no peer can raise
// SIGBUS in another by truncating it. It goes from process to process as a descriptor:
// [Sealed.Serve] and [DialSealed] hand it over a Unix socket and look who is there,
// [Sealed.File] and [OpenSealed] are for other ways. When nobody has it any more it is gone.
//
// # Errors
//
// [ErrFull], [ErrEmpty] and [ErrContended] mean "not now", and io.EOF is the end of a
// stream. They are returned as they are and may be compared with ==. All others are
// compared with errors.Is, and name the ring. What was asked for and cannot be is an
// [*OptionError].
//
// # Trust
//
// Processes that can open a ring for writing can destroy its contents and its availability
// for each other. What they write cannot make this package read or write outside the ring,
// allocate without bound, loop for ever or panic: it returns a [*CorruptError]. One thing
// they can do is shorten the file (not that of a sealed ring): calls that move messages are then
// ended with SIGBUS, unless Options.Untrusted makes an error of it. For that reason files are
// made with mode 0600, and a ring of another user is refused unless Options.AnyOwner is set.
//
// # Platforms
//
// It runs on Linux (amd64 and arm64). Elsewhere the package builds and its functions return
// [ErrUnsupported].
package shmring
