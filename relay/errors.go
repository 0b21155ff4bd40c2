package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shmring/shmring"
)

// Errors to be compared with errors.Is. None of them loses anything: what was not relayed is where it
// was.
var (
	ErrPayload      = errors.New("relay: a message is too long for the server")                   // *PayloadError
	ErrWriter       = errors.New("relay: somebody else writes into the stream")                   // *WriterError
	ErrPositionLost = errors.New("relay: what was stored last cannot be read back")               // *PositionLostError
	ErrRewound      = errors.New("relay: the stream has less than it had")                        // *RewoundError
	ErrGap          = errors.New("relay: messages are missing in the stream")                     // *GapError
	ErrUncertain    = errors.New("relay: it cannot be known whether a message was sent")          // *UncertainError
	ErrReplaced     = errors.New("relay: the stream is another than it was")                      // *ReplacedError
	ErrMark         = errors.New("relay: the mark file is none")                                  // *MarkError
	ErrNotes        = errors.New("relay: the mark file cannot be opened or made")                 // *NotesError
	ErrWire         = errors.New("relay: a message of the stream is not what a relay writes")     // *WireError
	ErrServer       = errors.New("relay: the server cannot do it at present, or cannot be found") // *ServerError
	ErrRefused      = errors.New("relay: the server refuses it")                                  // *ServerError
	ErrBusy         = shmring.ErrBusy                                                             // of the mark file
)

// PayloadError tells of a message that the server does not take. It is still in the ring.
type PayloadError struct {
	Ring      string
	Position  shmring.Position
	Size, Max int // bytes: of the message with its headers, and of the server's max_payload
}

// Error names the numbers and the remedy.
func (e *PayloadError) Error() string {
	return fmt.Sprintf("relay: ring %s: the message at %v needs %d bytes with its headers, and the server takes %d: "+
		"raise max_payload of the server; until then it stays in the ring, and what is behind it", e.Ring, e.Position,
		e.Size, e.Max)
}

// Is makes the error match ErrPayload.
func (e *PayloadError) Is(target error) bool { return target == ErrPayload }

// WriterError tells that the newest message of an Out's stream is not its own. An Out is the only
// writer of a stream.
type WriterError struct {
	Stream   string
	Sequence uint64
	Origin   string // what that message says of itself; empty: it is of no relay
	Want     string
}

// Error names both writers and the remedy.
func (e *WriterError) Error() string {
	who := "is of no relay"
	if e.Origin != "" {
		who = "is from " + e.Origin
	}
	return fmt.Sprintf("relay: stream %s: message %d %s, and only %s may write there: give each ring a stream of its own",
		e.Stream, e.Sequence, who, e.Want)
}

// Is makes the error match ErrWriter.
func (e *WriterError) Is(target error) bool { return target == ErrWriter }

// PositionLostError tells that the newest message of a stream was deleted, by a purge or by age, and
// that messages of the ring may have been stored or not: a relay was killed at that moment.
type PositionLostError struct {
	Stream   string
	Sequence uint64           // of the message that is gone
	Position shmring.Position // of the first message of the ring, which may have been stored
}

// Error names the remedy.
func (e *PositionLostError) Error() string {
	return fmt.Sprintf("relay: stream %s: message %d is gone, and whether the ring's messages from %v on were stored "+
		"cannot be known: let it resend those that are marked (Resend), and the reader may get them twice", e.Stream,
		e.Sequence, e.Position)
}

// Is makes the error match ErrPositionLost.
func (e *PositionLostError) Is(target error) bool { return target == ErrPositionLost }

// RewoundError tells that a stream ends before what it has acknowledged, or handed out: it was made
// anew, or its server has lost the end of its store.
type RewoundError struct {
	Stream    string
	Last, Had uint64 // the stream's last sequence, and the one that it had
}

// Error names both sequences.
func (e *RewoundError) Error() string {
	return fmt.Sprintf("relay: stream %s: its last message is %d, and there was a message %d: its end is lost, or it was "+
		"made anew", e.Stream, e.Last, e.Had)
}

// Is makes the error match ErrRewound.
func (e *RewoundError) Is(target error) bool { return target == ErrRewound }

// GapError tells of messages that a stream had and that are gone before In has read them: purged,
// deleted, or dropped by the stream's limits.
type GapError struct {
	Stream   string
	From, To uint64 // the sequences that are missing
}

// Error names the sequences and the remedy.
func (e *GapError) Error() string {
	return fmt.Sprintf("relay: stream %s: messages %d to %d are gone and were not read: they were purged, deleted, or "+
		"dropped by the limits of the stream (go on behind them with SkipGaps)", e.Stream, e.From, e.To)
}

// Is makes the error match ErrGap.
func (e *GapError) Is(target error) bool { return target == ErrGap }

// UncertainError tells of a message that a killed In was sending, of which the ring knows nothing
// any more: the ring was removed before another In could ask it, or so much was sent since, by others,
// that its slots were used again.
type UncertainError struct {
	Ring     string
	Sequence uint64
	Position shmring.Position
}

// Error names the message and the remedy.
func (e *UncertainError) Error() string {
	return fmt.Sprintf("relay: ring %s: message %d of the stream was being sent at %v when a relay was killed, and the "+
		"ring does not tell any more whether it was: let the relay send it, or skip it (Uncertain)",
		e.Ring, e.Sequence, e.Position)
}

// Is makes the error match ErrUncertain.
func (e *UncertainError) Is(target error) bool { return target == ErrUncertain }

// ReplacedError tells that a stream of that name was made anew since In has read it.
type ReplacedError struct {
	Stream  string
	Created time.Time
	Mark    string // the path of the file that says so
}

// Error names the remedy.
func (e *ReplacedError) Error() string {
	return fmt.Sprintf("relay: stream %s was made anew at %v, and what was read is of the one before: remove %s to begin "+
		"with the new one", e.Stream, e.Created.Format(time.RFC3339), e.Mark)
}

// Is makes the error match ErrReplaced.
func (e *ReplacedError) Is(target error) bool { return target == ErrReplaced }

// MarkError tells of a mark or chain file that no relay has written.
type MarkError struct{ Path string }

// Error names the file.
func (e *MarkError) Error() string {
	return fmt.Sprintf("relay: %s is no mark file: somebody else has made it, or it was damaged", e.Path)
}

// Is makes the error match ErrMark.
func (e *MarkError) Is(target error) bool { return target == ErrMark }

// NotesError tells that the file in which a relay notes what it does, the mark file of an In or the chain file of an
// Out, cannot be opened or made: no room, or no permission. It is met when Run opens its ring, before anything is taken
// from it or sent into it. A file that was opened has all of its room.
type NotesError struct {
	Path string
	Size int64 // bytes that it needs
	Err  error // of the kernel: an *fs.PathError
}

// Error says what the kernel said, and the remedy.
func (e *NotesError) Error() string {
	remedy := "give a directory that this user may write into (MarkDir, -mark-dir)"
	if errors.Is(e.Err, syscall.ENOSPC) || errors.Is(e.Err, syscall.EDQUOT) {
		remedy = fmt.Sprintf("make room for %d bytes there, or give another directory (MarkDir, -mark-dir)", e.Size)
	}
	return fmt.Sprintf("relay: notes of a relay: %v: %s: nothing is lost", e.Err, remedy)
}

// Unwrap returns Err.
func (e *NotesError) Unwrap() error { return e.Err }

// Is makes the error match ErrNotes.
func (e *NotesError) Is(target error) bool { return target == ErrNotes }

// WireError tells of headers or a packed payload that no relay has written.
type WireError struct {
	Field string
	Got   string
}

// Error names the field.
func (e *WireError) Error() string {
	return fmt.Sprintf("relay: %s is %.40q, which no relay writes", e.Field, e.Got)
}

// Is makes the error match ErrWire.
func (e *WireError) Is(target error) bool { return target == ErrWire }

// ServerError is what a server, or the way to it, said. It matches ErrServer if waiting may help, and
// ErrRefused if not: a name, a permission, a limit of the account.
type ServerError struct {
	Op  string // what was asked for
	Err error
	// Waiting says that the relay waits and tries again. It is not returned then, unless
	// Options.Patience has ended, but told to OnTrouble.
	Waiting bool
}

// Error says what was asked for, what was said, and what helps.
func (e *ServerError) Error() string { return "relay: " + e.Op + ": " + e.Err.Error() + advice(e.Err) }

// Unwrap returns Err.
func (e *ServerError) Unwrap() error { return e.Err }

// Is makes the error match ErrServer or ErrRefused.
func (e *ServerError) Is(target error) bool {
	return target == ErrServer && e.Waiting || target == ErrRefused && !e.Waiting
}

// advice is what helps against an error, for people.
func advice(err error) string {
	api, _ := errors.AsType[*jetstream.APIError](err)
	var network *net.OpError
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return ": give the credentials that the server wants (-creds, -user)"
	case errors.Is(err, nats.ErrPermissionViolation):
		return ": the account may not do that: grant it $JS.API.>, $JS.ACK.>, _INBOX.> and the subjects of the stream"
	case errors.Is(err, nats.ErrNoServers), errors.As(err, &network):
		return ": is the server there, and the URL right?"
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return ": start the server with JetStream (-js), and allow it to the account"
	case errors.Is(err, nats.ErrNoResponders):
		return ": the stream has no leader at present, or does not take that subject"
	case errors.Is(err, errUnanswered):
		return ": its disk is full, or fails, as its log says: nothing is lost, make room there and start the server again"
	case api == nil:
	case isFull(api):
		return ": nothing more fits into the server's store, or into the limits of the stream: nothing is lost, make room"
	case api.ErrorCode == jetstream.JSErrCodeStreamNotFound:
		return ": create it first, or let an Out do it"
	}
	return ""
}

// Codes of the server that package jetstream has no names for.
const (
	codeWrongLast     = jetstream.JSErrCodeStreamWrongLastSequence
	codeWrongLast2    = 10164 // the same, of a cluster that does not know better at present
	codeInsufficient  = 10023 // resources of the account
	codeNoMemory      = 10028
	codeStoreFailed   = 10077 // "maximum bytes exceeded" and the like
	codeStorage       = 10047 // storage resources exceeded
	codeUnavailable   = 10008 // JetStream system temporarily unavailable
	codeNotReady      = 10163
	codeOffline       = 10118
	codePeers         = 10005 // no suitable peers for placement
	codeTooMany       = 10167 // too many requests
	codeInProcess     = 10158 // duplicate message id is in process: the same was sent before, and the cluster is at it
	codeSequenceGone  = jetstream.JSErrCodeMessageNotFound
	codeMaxPayload    = 10054
	statusUnavailable = 503
)

func isFull(e *jetstream.APIError) bool {
	switch e.ErrorCode {
	case codeInsufficient, codeNoMemory, codeStoreFailed, codeStorage:
		return true
	}
	return false
}

func isWrongLast(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == codeWrongLast || api.ErrorCode == codeWrongLast2)
}

// denied is what the server has said, if it was that nothing may be published under such a subject. That is not said
// to whoever publishes, but of the connection; it stays said until there is a new one, so it is asked for when an
// answer does not come.
func denied(nc *nats.Conn, subjects ...string) error {
	err := nc.LastError()
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	for _, s := range subjects {
		if strings.Contains(err.Error(), `Publish to "`+s) {
			return err
		}
	}
	return nil
}

func isNoStream(err error) bool { return errors.Is(err, jetstream.ErrStreamNotFound) }

// canWait tells whether an error may be over later. What is not known is not waited for.
func canWait(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch api.ErrorCode {
		case codeUnavailable, codeNotReady, codeOffline, codePeers, codeTooMany, codeWrongLast, codeWrongLast2,
			codeInProcess:
			return true
		}
		return isFull(api) || api.Code == statusUnavailable && api.ErrorCode == 0
	}
	for _, e := range []error{
		errReset, errNoReader, errUnanswered, errTooManyRequests, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected,
		nats.ErrConnectionReconnecting,
		nats.ErrReconnectBufExceeded,
		nats.ErrStaleConnection, nats.ErrNoServers, context.DeadlineExceeded, jetstream.ErrNoHeartbeat,
		jetstream.ErrConsumerLeadershipChanged, jetstream.ErrServerShutdown, jetstream.ErrMsgIteratorClosed,
		jetstream.ErrNoStreamResponse, jetstream.ErrConnectionClosed,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	var network net.Error
	return errors.As(err, &network)
}
