package shmring

import (
	"context"

	"github.com/shmring/shmring/ring"
)

// View hands out the messages of a consumer in place, with no call for most of them: Wait looks
// at all that are there, up to 64, and Next goes on from one to the next.
//
//	v := c.View()
//	for v.Next() || v.Wait(ctx) {
//		use(v.Bytes())
//	}
//	err := v.Err()
//
// Coming back to Wait releases the messages before. A consumer has one View, which is for the
// consumer's goroutine; other calls that receive go on behind the message that the View handed
// out last, and take back the rest of what it had looked at.
type View ring.View

// View returns the consumer's [View].
func (c *Consumer) View() *View { return (*View)(c.ring.View()) }

// Next goes on to the next message, if Wait has seen it. When it reports false, call Wait.
func (v *View) Next() bool { return (*ring.View)(v).Next() }

// Wait goes on to the next message like Next, and waits for it, and heeds ctx, as
// [Consumer.Receive] does; with a nil ctx it does not wait. When it reports false, Err says why.
// After a [*StreamError] it may be called again: others may still send.
func (v *View) Wait(ctx context.Context) bool { return (*ring.View)(v).Wait(ctx) }

// Bytes returns the message that Next or Wait has gone on to, in the ring's own memory. It is
// valid until the next call of Wait or Release or of another call that receives, or until the
// consumer is closed. See [Message.Bytes] about peers that break the rules.
func (v *View) Bytes() []byte { return (*ring.View)(v).Bytes() }

// Message returns that message with all that is known of it, valid as long as Bytes. Its Release
// does nothing.
func (v *View) Message() Message { return Message((*ring.View)(v).Message()) }

// Release says that the message that Next or Wait has gone on to is handled, and with it all
// before, without going on to another. Close alone leaves that one to the next consumer.
func (v *View) Release() { (*ring.View)(v).Release() }

// Err returns why Wait has last reported false: an error of [Consumer.Receive], or with a nil ctx
// of [Consumer.TryReceive]; nil after Wait has reported true.
func (v *View) Err() error { return (*ring.View)(v).Err() }
