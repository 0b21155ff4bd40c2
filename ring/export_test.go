package ring

// ParkEverybody makes all sleepers of this process go to the lot, until undone. No
// handle may be in use when it is called.
func ParkEverybody() (undo func()) {
	was := maxThreads
	maxThreads = 0
	return func() { maxThreads = was }
}

// Eagerness of a consumer, from 0 to 1024.
func (c *Consumer) Eagerness() int { return int(c.eager.score.Load()) }
