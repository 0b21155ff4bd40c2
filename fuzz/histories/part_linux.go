package main

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/histories/spec"
)

// part is what one process does in a history.
type part struct {
	Dir      string
	Ring     string
	Geometry spec.Geometry
	Client   int // in the history
	Consumer bool
	Seed     uint64
	Ops      int
	Slow     int // how long the pauses between calls are; 0: they are shorter than calls

	AtMostOnce bool // a consumer: what it promises
	Force      bool // producers take long over their claims, and the consumer gives some of them up
	Waits      bool // producers also wait for room, longer than it takes to get priority

	Late      bool  // a successor: it opens the ring when the history has begun
	PauseAt   int   // before so many calls it waits for the successor to be there; -1: never
	KillAt    int   // at this call it is killed; -1: never
	KillAfter int64 // nanoseconds after it has begun to ask for that
	KillPoint int   // in builds with kill points, if not 0: at the n-th from there on instead
}

// The phases of a part: told asks for them and reached says that they are over. They are
// numbered through all histories.
const (
	phaseOpen  = iota + 1 // read the part, and open the ring if not late
	phaseRun              // make the calls
	phaseEmpty            // consumer: empty the ring
	phaseClose
	phases
)

func phaseOf(history uint64, phase int) uint64 { return history*phases + uint64(phase) }

// sendTimeout ends a Send for which there is no room.
const sendTimeout = 30 * time.Millisecond

func (p *part) options() *shmring.Options {
	o := &shmring.Options{Dir: p.Dir, Mode: shmring.ModeOpenOnly, KeepStream: true, SendTimeout: sendTimeout}
	if p.AtMostOnce {
		o.Delivery = shmring.DeliveryAtMostOnce
	}
	return o
}

// put writes the part into the journal of a child that waits for one.
func (p *part) put(j *journal) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	binary.NativeEndian.PutUint64(j.text, uint64(len(text)))
	copy(j.text[8:], text)
	return nil
}

func (p *part) get(j *journal) error {
	return json.Unmarshal(j.text[8:8+binary.NativeEndian.Uint64(j.text)], p)
}
