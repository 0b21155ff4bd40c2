package cli

import (
	"context"
	"errors"
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
	return extended(ctx, func(error) time.Duration { return d })
}

// Drain returns a context that ends with ctx, but some time after it if the cause is
// ErrTerminated.
func Drain(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return extended(ctx, func(cause error) time.Duration {
		if errors.Is(cause, ErrTerminated) {
			return d
		}
		return 0
	})
}

func extended(ctx context.Context, by func(cause error) time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	end := func() {
		cause := context.Cause(ctx)
		if d := by(cause); d > 0 {
			select {
			case <-time.After(d):
			case <-late.Done():
			}
		}
		cancel(cause)
	}
	if ctx.Err() != nil && by(context.Cause(ctx)) == 0 {
		end() // before anybody asks
	}
	stop := context.AfterFunc(ctx, end)
	return late, func() { stop(); cancel(nil) }
}
