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
	UnpublishedOpened Point = iota // creating: the file exists and has no name yet
	UnpublishedFormatted
	UnpublishedLocked
	Published
	FileOpened // opening: nothing else is done
	AttachLockShared
	FileMapped
	AttachLockAlone
	Unlinked
	PagesBlanked // closing: our own pages are gone, the locks are not
	FileClosed
	LockDirectoryMade // life locks by flock: there is a directory for them, and its segment has no name yet
	LockFileMade      // life locks by flock: the file is there, and not locked yet
	LockFileUnlinked
	ReplacementNamed // making a ring anew: the file has a name, but not yet that of the ring
	Replaced

	LifeLocked // attaching
	LifeUnlocked
	EpochStored
	RoleStored
	WhoStored
	StateUsed
	StateEnded
	DrainPosStored // retiring
	StateDraining
	StateFree

	PayloadWritten // sending
	MetaWritten
	CommitMarked // MPSC: the mark that a commit by a plain store follows
	EntryWritten
	InnerRenewed
	CtlStored // SPSC: published
	WordCleared
	AreaCleared
	WrittenStored
	TailMoved // MPSC: claimed
	ClaimRecorded
	ClaimFinished

	PriorityTaken // waiting for room
	PriorityEnded

	Announced // sleeping and waking
	Unannounced
	BellCleared
	Woken
	Counted
	CPUStored

	MetaRewritten // receiving
	MarkStored
	WaypointStored
	ReadPosStored
	ClaimDiscarded

	FatePosStored // the fates of streams: storing and telling them
	FateStored
	NewsStored
	OverStored
	ToldStored

	EventBegun // writing down what happened
	EventStored

	RevokedPosStored // revoking and repairing
	StateRevoked
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
	"UnpublishedOpened", "UnpublishedFormatted", "UnpublishedLocked", "Published", "FileOpened", "AttachLockShared",
	"FileMapped",
	"AttachLockAlone", "Unlinked", "PagesBlanked", "FileClosed",
	"LockDirectoryMade", "LockFileMade", "LockFileUnlinked", "ReplacementNamed", "Replaced",
	"LifeLocked", "LifeUnlocked", "EpochStored", "RoleStored", "WhoStored", "StateUsed", "StateEnded",
	"DrainPosStored", "StateDraining", "StateFree",
	"PayloadWritten", "MetaWritten", "CommitMarked", "EntryWritten", "InnerRenewed", "CtlStored", "WordCleared",
	"AreaCleared", "WrittenStored", "TailMoved", "ClaimRecorded",
	"ClaimFinished",
	"PriorityTaken", "PriorityEnded",
	"Announced", "Unannounced", "BellCleared", "Woken", "Counted", "CPUStored",
	"MetaRewritten", "MarkStored", "WaypointStored", "ReadPosStored", "ClaimDiscarded",
	"FatePosStored", "FateStored", "NewsStored", "OverStored", "ToldStored",
	"EventBegun", "EventStored",
	"RevokedPosStored", "StateRevoked", "BellsReset",
	"NamespaceStored", "KeyStored", "SemaphoresMade", "SemaphoresGiven", "SemaphoresFilled", "SetStored", "DoorClosed",
	"SemaphoresRemoved",
}
