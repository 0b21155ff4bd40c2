package work

// Link is one end of a transport in one direction.
type Link interface {
	Send(msg []byte) error        // waits for room
	Recv(buf []byte) (int, error) // waits for a message and copies it
	Close() error
}

// Batcher is a Link that moves several messages at a time.
type Batcher interface {
	Link
	SendMany(msgs [][]byte) error
	// RecvMany waits for a message and calls f for it and for those that are there, which
	// may be in place.
	RecvMany(buf []byte, f func(msg []byte) error) error
}

// BatchPlacer is a Batcher that makes its batches in place: f writes each of n messages of size bytes.
type BatchPlacer interface {
	Batcher
	SendManyPlaced(n, size int, f func(msg []byte)) error
}

// Placer is a Link that works in place: f writes the message, or reads it.
type Placer interface {
	Link
	SendPlaced(n int, f func(msg []byte)) error
	RecvPlaced(f func(msg []byte) error) error
}

// Open opens an end: of the direction "there" or "back", for sending or receiving.
type Open func(j *Job, direction string, sender bool) (Link, error)
