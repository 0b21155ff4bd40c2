package shmrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

var (
	// ErrLost matches a [*LostError].
	ErrLost = errors.New("the connection was lost")
	// ErrTooLong matches the [*Error] of a request that is longer than the server takes. It was not carried out, and
	// the connection goes on.
	ErrTooLong = errors.New("shmrpc: a request is too long")
	// ErrReplyTooLong matches the [*Error] of a reply that is longer than the client takes. The request was carried
	// out, and the connection goes on.
	ErrReplyTooLong = errors.New("shmrpc: a reply is too long")
)

// LostError tells that a call got no reply because the connection broke off: the server died, was
// restarted, or closed it. It matches ErrLost and what it wraps.
type LostError struct {
	Sent bool // the server may have carried it out
	Err  error
}

// Error says whether the request had been sent.
func (e *LostError) Error() string {
	why := fmt.Sprint(e.Err)
	if e.Err == io.EOF {
		why = "the server has closed the connection (" + why + ")"
	}
	if e.Sent {
		return "shmrpc: no reply, and the server may have carried the request out: " + why
	}
	return "shmrpc: the request was not sent: " + why
}

// Unwrap returns ErrLost and Err.
func (e *LostError) Unwrap() []error { return []error{ErrLost, e.Err} }

// errDeadline is what a call returns whose context came to its deadline. It matches that of package os, too.
var errDeadline error = deadlineError{}

type deadlineError struct{}

func (deadlineError) Error() string   { return context.DeadlineExceeded.Error() }
func (deadlineError) Timeout() bool   { return true }
func (deadlineError) Temporary() bool { return true } // as that of a context
func (deadlineError) Unwrap() []error {
	return []error{context.DeadlineExceeded, os.ErrDeadlineExceeded}
}

// takePanic is what Do panics with when take has panicked on the goroutine of another call.
type takePanic struct {
	value any
	stack []byte // of that goroutine
}

// Error says what take panicked with, and where.
func (p *takePanic) Error() string { return fmt.Sprintf("%v\n\n%s", p.value, p.stack) }

// Unwrap returns what take panicked with, if it is an error.
func (p *takePanic) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

// Error is what a call has instead of a reply: mostly what a handler has returned. A handler that returns one chooses
// the code; of other errors it is 0, or CodeDeadline or CodeCanceled for those of a context, which they match at
// the client too. CodeTooLong and CodeReplyTooLong are of no handler: of one that returns them it is 0.
type Error struct {
	Code uint32
	Text string
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// The codes of errors that are not a handler's own.
const (
	CodeDeadline uint32 = math.MaxUint32 - iota
	CodeCanceled
	CodeTooLong
	CodeReplyTooLong
)

// Is makes errors of contexts match, and ErrTooLong and ErrReplyTooLong.
func (e *Error) Is(target error) bool {
	switch target {
	case context.DeadlineExceeded, os.ErrDeadlineExceeded:
		return e.Code == CodeDeadline
	case context.Canceled:
		return e.Code == CodeCanceled
	case ErrTooLong:
		return e.Code == CodeTooLong
	case ErrReplyTooLong:
		return e.Code == CodeReplyTooLong
	}
	return false
}

// mostText is how much of the text of an error goes to the client.
const mostText = 4 << 10

// errorOf is what of a handler's error goes to the client.
func errorOf(err error) *Error {
	e, ok := errors.AsType[*Error](err)
	switch {
	case ok && (e.Code == CodeTooLong || e.Code == CodeReplyTooLong): // of a call that the handler has made
		e = &Error{Text: e.Text}
	case !ok:
		e = &Error{Text: err.Error()}
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			e.Code = CodeDeadline
		case errors.Is(err, context.Canceled):
			e.Code = CodeCanceled
		}
	}
	return &Error{e.Code, e.Text[:min(len(e.Text), mostText)]}
}
