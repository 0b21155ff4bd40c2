package shm

// Where the locks lie; see the lock map in the package comment.
const (
	adminByte int64 = 1<<40 - 1
	lifeBase  int64 = 1 << 40
)
