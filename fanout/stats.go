package fanout

import "github.com/shmring/shmring"

// Stats are of one target, since Add.
type Stats struct {
	Name     string
	Policy   Policy
	Messages uint64 // sent
	Bytes    uint64 // of those
	Dropped  uint64 // messages that were left out, by the policy Drop
	Waits    uint64 // sends that had to wait for room
	Waiting  bool   // it does not have all that was taken, see PartialError
	Gone     error  // why it gets no more; nil: it is there
	Ring     shmring.Stats
}

// Stats tells of all targets, in the order in which they were added, also of those that were given up, until Remove or
// an Add of the same name.
func (f *FanOut) Stats() (list []Stats) {
	for _, t := range *f.targets.Load() {
		list = append(list, Stats{
			Name: t.Name, Policy: t.Policy, Messages: t.messages.Load(), Bytes: t.bytes.Load(),
			Dropped: t.dropped.Load(), Waits: t.waits.Load(), Waiting: t.why() == nil && t.incomplete.Load(),
			Gone: t.why(), Ring: t.Producer.Stats(),
		})
	}
	return list
}
