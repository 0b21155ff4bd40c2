package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/shmring/shmring"
)

// Exit codes of all programs; ExitCodes is how --help tells them.
const (
	OK       = 0
	Failed   = 1
	Usage    = 2
	PeerDead = 3
	Corrupt  = 4
	TimedOut = 5
	Full     = 6
	Busy     = 7
	Cut      = 8
	Alone    = 9
	Aborted  = 130
)

// ExitCodes is the part of a help text that lists them.
const ExitCodes = `Exit codes
  0    all went well; also when a signal asked for the end
  1    a runtime error: input, output, memory, permissions
  2    a usage error: flags or arguments
  3    a producer died without ending its stream (consumer -on-death exit; and at
       the end, when others have gone on)
  4    the ring is corrupt, or -verify found something wrong
  5    a timeout: nothing could be sent or nothing arrived for so long
  6    the ring is full (producer -full fail)
  7    the role is taken by another process, or, for what is done to a ring that
       nobody uses, somebody has it open
  8    a producer says that what it sent is not the whole (consumer)
  9    nobody is at the other end (producer -no-consumer fail, consumer
       -no-producer fail)
  130  aborted by a second signal
`

var (
	// ErrTimeout is the cause of a wait that a Patience has ended.
	ErrTimeout = errors.New("timed out")
	// ErrVerify: generated load did not arrive as it was sent.
	ErrVerify = errors.New("verification failed")
)

// UsageError is the caller's mistake on the command line.
type UsageError struct{ text string }

func (e *UsageError) Error() string { return e.text }

// Usagef makes a *UsageError.
func Usagef(format string, args ...any) error {
	return &UsageError{fmt.Sprintf(format, args...)}
}

// Code is the exit code for an error.
func Code(err error) int {
	var usage *UsageError
	switch {
	case err == nil:
		return OK
	case errors.As(err, &usage):
		return Usage
	case errors.Is(err, shmring.ErrPeerDead):
		return PeerDead
	case errors.Is(err, shmring.ErrFailed):
		return Cut
	case errors.Is(err, shmring.ErrCorrupt), errors.Is(err, ErrVerify):
		return Corrupt
	case errors.Is(err, ErrTimeout), errors.Is(err, os.ErrDeadlineExceeded):
		return TimedOut
	case errors.Is(err, shmring.ErrFull):
		return Full
	case errors.Is(err, shmring.ErrBusy):
		return Busy
	case errors.Is(err, shmring.ErrNoPeer):
		return Alone
	}
	return Failed
}
