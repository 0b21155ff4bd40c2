// Package fanout sends the same messages into several rings, so that several consumers each get all of them. A
// ring has one consumer; a [FanOut] is one producer in front of many rings, with a policy for each.
//
//	f := fanout.New()
//	err = f.Add(fanout.Target{Name: "billing", Producer: billing})                         // loses nothing
//	err = f.Add(fanout.Target{Name: "debug", Producer: debug, Policy: fanout.Drop})        // holds nobody up
//	err = f.Send(ctx, msg)
//
// # Order and loss
//
// All targets get the messages in the order of the sends. A message goes first to all that have room, and only
// then are those waited for that have none: who is slow holds up the next message, and not this one. Rings give each
// consumer its own slack, so a consumer that is slow for a moment holds up nobody until its ring is full.
//
// With [Block] a target loses nothing, and a target that takes nothing holds up all of them. A consumer that
// died leaves a ring that fills, and Block then waits for its successor; who does not want that bounds it by
// [Target].Wait with Drop or Disconnect, or opens the producer with shmring.NoPeerFail. Remove ends such a
// wait from another goroutine.
//
// # Contexts
//
// A send whose context ends while it waits has either reached nobody, and returns the context's error as a Producer
// does, or some targets have the message and others do not. Then it returns a [*PartialError] that names those that
// wait for it. The message is taken: a copy is kept, and those targets get it before any later message, with the next
// send or with [FanOut.Flush]. It must not be sent again.
//
// # Targets that break
//
// A target whose ring is corrupt, truncated, removed, closed or revoked is given up: it gets no more messages and
// is closed. The others go on. A send that lost a target with the policy Block tells, once, by a [*LostError];
// of the others [FanOut.Stats] and [FanOut.OnGone] tell.
package fanout
