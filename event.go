package shmring

import (
	"context"
	"fmt"
	"time"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// Event is something in the life of a ring. See [Events].
type Event struct {
	// Seq numbers the events of a ring from 1 on. A number that is missing is of a process that
	// was killed when it wrote the event down.
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	// Kind is "created", "attached", "took over" (the place of one that had died), "ended" (a
	// stream, by CloseSend or FailSend), "left", "died" (By found that), "skipped" (the claim of
	// a dead producer), "revoked" (the claim of a live one, by ForceSkip), "recovered",
	// "orphaned" (By found that the ring has lost its name) or "resized" (by By; positions of
	// events before it are those of the ring as it was).
	Kind        string   `json:"kind"`
	Role        Role     `json:"role"`        // of the participant
	Participant int      `json:"participant"` // its slot
	Epoch       uint32   `json:"epoch"`
	PID         int      `json:"pid"`            // of the participant, as it saw itself
	By          int      `json:"by"`             // of the process that wrote the event down, likewise
	Fate        string   `json:"fate,omitempty"` // how the stream of a producer ended, where it did
	Position    Position `json:"position"`
}

var eventKinds = []string{"", "created", "attached", "took over", "ended", "left", "died", "skipped", "revoked",
	"recovered", "orphaned", "resized"}

// String tells the event in a line, without its time.
func (e Event) String() string {
	who := fmt.Sprintf("%s %d.%d (pid %d)", e.Role, e.Participant, e.Epoch, e.PID)
	switch e.Kind {
	case "created", "recovered", "resized":
		return fmt.Sprintf("%s by pid %d", e.Kind, e.By)
	case "died":
		return fmt.Sprintf("%s died behind %v, found by pid %d", who, e.Position, e.By)
	case "ended":
		return fmt.Sprintf("%s ended its stream at %v: %s", who, e.Position, e.Fate)
	case "left":
		return fmt.Sprintf("%s left at %v", who, e.Position)
	case "skipped":
		return fmt.Sprintf("the claim at %v of %s, which had died, was passed over by pid %d", e.Position, who, e.By)
	case "revoked":
		return fmt.Sprintf("the claim at %v of %s was given up by pid %d (force-skip)", e.Position, who, e.By)
	case "orphaned":
		return fmt.Sprintf("%s found that the ring has lost its name", who)
	}
	return who + " " + e.Kind
}

// Events returns the last events in the life of a ring, at most 128, the oldest first: who
// came, went and died, and what was done by hand. It takes no role and changes nothing; a ring
// that is in use may be asked. What it returns was written by the ring's users, and is as
// true as they are. Errors: those of opening.
func Events(ctx context.Context, name string, o *AdminOptions) (events []Event, err error) {
	err = visit(ctx, name, o, func(_ *shm.Segment, view *layout.View) error {
		events = eventsOf(view)
		return nil
	})
	return events, err
}

func eventsOf(view *layout.View) (events []Event) {
	for _, e := range ring.Events(view) {
		events = append(events, eventOf(e))
	}
	return events
}

func eventOf(e ring.Event) Event {
	own := Event{
		Seq: e.Seq, Time: time.Unix(0, e.Time), Kind: "unknown", Role: RoleProducer, Participant: e.Participant,
		Epoch: e.Epoch, PID: e.PID, By: e.By, Position: Position{Record: e.Position},
	}
	if int(e.Kind) < len(eventKinds) {
		own.Kind = eventKinds[e.Kind]
	}
	if e.Participant == 0 {
		own.Role = RoleConsumer
	} else if own.Kind == "ended" || own.Kind == "left" || own.Kind == "died" {
		own.Fate = Fate(e.Fate).String()
	}
	return own
}
