package spec

// Geometry is what a ring is like.
type Geometry struct {
	MPSC     bool
	Slots    int // 8 or 16; 8 in line
	SlotSize int // bytes; 64 in line
	// InLine: records lie in line, as those of all SPSC rings do. (Some histories of the tests have a
	// ring for one producer in slots.)
	InLine bool
}

// MaxMessage is the longest message that a ring takes. In line it is so long that its
// records lie in no more bytes than the slots have.
func (g *Geometry) MaxMessage() int {
	if g.InLine {
		return g.Slots*g.SlotSize - 80
	}
	return g.Slots * g.SlotSize
}

// The most that a history may have.
const (
	MaxSlots   = 64 // in line: pieces of 8 bytes
	MaxClients = 8
	MaxIDs     = 256 // messages and claims
)

// Op is a call of the library.
type Op uint8

// The calls: those of producers first, and of them first those that claim.
const (
	TrySend      Op = iota // of message ID, Size bytes
	Send                   // likewise: it waits for room, until its handle's SendTimeout
	TrySendBatch           // of messages from ID on, Sizes bytes; it has sent N of them
	TryClaim               // for message ID, Size bytes
	Commit                 // of the claim for message ID, of Size bytes by then
	Abort                  // likewise
	Leave                  // the producer closes its handle; its Join opens another
	Join                   // of a producer that comes when the history has begun
	Open                   // of a consumer that takes over
	Stop                   // a consumer closes its handle
	TryReceive             // at most one message in Got
	TryNext                // likewise: it stays out until Release
	Release                // of what the TryNext number Loan of this consumer has returned, from 1
	TryDrain               // at most Max messages
	Drain                  // likewise: it waits for the first, until its context ends
	Check                  // of a consumer
	ForceSkip              // of the claim at Position
	Dropped                // a consumer asks how many records it has passed over as seen: N
)

var opNames = [...]string{
	"TrySend", "Send", "TrySendBatch", "TryClaim", "Commit", "Abort", "Leave", "Join", "Open", "Stop",
	"TryReceive", "TryNext", "Release", "TryDrain", "Drain", "Check", "ForceSkip", "Dropped",
}

func (o Op) String() string { return opNames[o] }

// Answer is what a call returned besides messages.
type Answer uint8

// The answers.
const (
	None       Answer = iota // it did not return: its process was killed
	OK                       // nil
	Empty                    // ErrEmpty
	Full                     // ErrFull
	Contended                // ErrContended
	Told                     // a *StreamError
	TimedOut                 // a *ContextError
	Revoked                  // ErrRevoked
	NotStalled               // ErrNotStalled
	Busy                     // ErrBusy
)

var answerNames = [...]string{
	"no return", "ok", "ErrEmpty", "ErrFull", "ErrContended", "*StreamError", "*ContextError", "ErrRevoked",
	"ErrNotStalled", "ErrBusy",
}

func (a Answer) String() string { return answerNames[a] }

// Call is one call of one client. Times are nanoseconds of a clock that all processes share.
type Call struct {
	Client int // a process has one number, its successor another
	Op     Op
	ID     uint8
	Size   int
	Sizes  []int
	Loan   int
	Max    int
	N      int

	Position uint64

	Begin  int64
	End    int64 // without an answer: when its process was dead
	Answer Answer
	Got    []Got
}

// Got is a message that a call has handed out.
type Got struct {
	ID   uint8
	Size int
	At   int64 // TryDrain: when the handler was called
	// Placed: Position, Index and Redelivered are known. TryReceive does not tell them.
	Placed      bool
	Position    uint64
	Index       uint8 // in its batch
	Redelivered bool
}

// Death is the end of a client that was killed.
type Death struct {
	Client int
	Last   int64 // it was alive then
	Dead   int64 // and dead then
}

// History is what a few processes did with one ring, from its first message on. The calls
// of one client are in the order in which it made them.
type History struct {
	Geometry
	AtMostOnce [MaxClients]bool // consumers that promise it
	Calls      []Call
	Deaths     []Death
}
