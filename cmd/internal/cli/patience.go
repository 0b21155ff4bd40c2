package cli

import (
	"context"
	"time"
)

// Patience bounds single waits without making a context for each. It is for one
// goroutine.
type Patience struct {
	parent context.Context
	limit  time.Duration
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// NewPatience bounds waits under parent; a limit of 0 is none.
func NewPatience(parent context.Context, limit time.Duration) *Patience {
	return &Patience{parent: parent, limit: limit}
}

// Begin returns the context of a wait that begins now. It ends after the limit, with
// ErrTimeout as its cause.
func (p *Patience) Begin() context.Context {
	if p.limit <= 0 {
		return p.parent
	}
	if p.ctx == nil {
		ctx, cancel := context.WithCancelCause(p.parent)
		p.ctx, p.cancel = ctx, cancel
		p.timer = time.AfterFunc(p.limit, func() { cancel(ErrTimeout) })
		return ctx
	}
	p.timer.Reset(p.limit)
	return p.ctx
}

// End ends the wait.
func (p *Patience) End() {
	if p.ctx != nil && !p.timer.Stop() {
		p.Close() // too late: this context is used up
	}
}

// Close lets go of the parent.
func (p *Patience) Close() {
	if p.ctx != nil {
		p.timer.Stop()
		p.cancel(nil)
		p.ctx = nil
	}
}

// Grace returns a context that ends some time after ctx does.
func Grace(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(d):
			cancel(context.Cause(ctx))
		case <-late.Done():
		}
	})
	return late, func() { stop(); cancel(nil) }
}
