// Package killpoint marks the places in this module after which shared state has
// changed: every store into a segment, every lock, every name. An ordinary build
// contains nothing of it: [At] is an empty function and is compiled away. With the build
// tag killpoint, At calls Hook, and the kill laboratory (fuzz/killlab) ends the process
// at each of them in turn.
package killpoint

// Point is one place.
type Point int

// The places, in the order of a ring's life.
const (
	DraftOpened Point = iota // creating: the file exists and has no name yet
	DraftFormatted
	DraftLocked
	Published
	FileOpened // opening: nothing else is done
	AdminShared
	FileMapped
	AdminAlone
	Unlinked
	PagesBlanked // closing: our own pages are gone, the locks are not
	FileClosed
	LockFileMade // where who lives is told by flock; it is not locked yet
	LockFileUnlinked

	LifeLocked // attaching
	LifeUnlocked
	EpochStored
	RoleStored
	WhoStored
	StateUsed
	StateEnded
	DrainPosStored // burying
	StateDraining
	StateFree

	PayloadWritten // sending
	MetaWritten
	EntryWritten
	InnerRenewed
	CtlStored // SPSC: published
	TailMoved // MPSC: claimed
	BusyRecorded
	ClaimFinished

	TurnTaken // waiting for room
	TurnEnded

	Announced // sleeping and waking
	Unannounced
	BellCleared
	Woken
	Counted

	MetaKept // receiving
	MarkStored
	ReadPosStored
	ClaimSkipped

	FencePosStored // revoking and repairing
	StateFenced
	BellsReset

	NamespaceStored // SysV: making a semaphore set, sleeping on it, removing it
	KeyStored
	SemaphoresMade
	SemaphoresGiven
	SemaphoresFilled
	SetStored
	DoorClosed
	SemaphoresRemoved

	Points // how many there are
)

// String is the point's name.
func (p Point) String() string { return names[p] }

var names = [Points]string{
	"DraftOpened", "DraftFormatted", "DraftLocked", "Published", "FileOpened", "AdminShared", "FileMapped",
	"AdminAlone", "Unlinked", "PagesBlanked", "FileClosed",
	"LockFileMade", "LockFileUnlinked",
	"LifeLocked", "LifeUnlocked", "EpochStored", "RoleStored", "WhoStored", "StateUsed", "StateEnded",
	"DrainPosStored", "StateDraining", "StateFree",
	"PayloadWritten", "MetaWritten", "EntryWritten", "InnerRenewed", "CtlStored", "TailMoved", "BusyRecorded", "ClaimFinished",
	"TurnTaken", "TurnEnded",
	"Announced", "Unannounced", "BellCleared", "Woken", "Counted",
	"MetaKept", "MarkStored", "ReadPosStored", "ClaimSkipped",
	"FencePosStored", "StateFenced", "BellsReset",
	"NamespaceStored", "KeyStored", "SemaphoresMade", "SemaphoresGiven", "SemaphoresFilled", "SetStored", "DoorClosed", "SemaphoresRemoved",
}
