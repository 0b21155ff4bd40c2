package consume

import (
	"context"
	"encoding/binary"
	"runtime"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// roster counts the producers of an MPSC ring: those whose end of stream lies in it
// when the consumer comes, those that are there then, and all that come later. The
// library tells when the last one has ended, not how many have, so this looks into
// the ring's own tables.
type roster struct {
	segment *shm.Segment
	view    *layout.View
	epochs  []uint32 // by slot, at the beginning
	present int      // likewise, how many had come and not been received to the end
}

// newRoster is to be called before the first message is taken.
func newRoster(ctx context.Context, i shmring.Info, dir string) (*roster, error) {
	segment, err := shm.Open(ctx, i.Name, layout.MinSize, &shm.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	view, err := layout.Parse(segment.Bytes())
	if err == nil && view.Config.UUID != i.UUID {
		err = shmring.ErrOrphaned
	}
	if err != nil {
		segment.Close()
		return nil, err
	}
	r := &roster{segment: segment, view: view, epochs: make([]uint32, len(view.Members))}
	r.look()
	return r, nil
}

func (r *roster) close() { r.segment.Close() }

type stream struct {
	slot  int
	epoch uint32
}

// look fills in the beginning. A producer may end its stream meanwhile and be found
// both alive and ended: it counts once.
func (r *roster) look() {
	streams := map[stream]bool{}
	for i := layout.ConsumerIndex + 1; i < len(r.view.Members); i++ {
		alive := false
		for range 1000 { // an owner that was stopped while it came or left is not waited for
			var settled bool
			if r.epochs[i], alive, settled = r.slot(i); settled {
				break
			}
			runtime.Gosched()
		}
		if alive {
			streams[stream{i, r.epochs[i]}] = true
		}
	}
	for _, s := range r.ends() {
		streams[s] = true
	}
	r.present = len(streams)
}

// slot looks at one producer slot. It is not settled while somebody takes or leaves
// it.
func (r *roster) slot(i int) (epoch uint32, alive, settled bool) {
	m := &r.view.Members[i]
	epoch = m.Epoch.Load()
	held, err := r.segment.Held(i)
	state := layout.ParticipantState(m.State.Load())
	taken := state == layout.Used || state == layout.Ended
	return epoch, held && taken, err != nil || (!held || taken) && m.Epoch.Load() == epoch
}

// ends lists the ends of streams that lie in the ring.
func (r *roster) ends() (found []stream) {
	hot, cfg := r.view.Hot, r.view.Config
	pos := hot.ReadPos.Load()
	end := layout.Tail(hot.Tail.Load()).Pos(pos)
	for n := 0; pos != end && n < cfg.Slots; n++ {
		d := &r.view.Descriptors[pos&uint64(cfg.Slots-1)]
		v := layout.Ctl(d.Ctl.Load())
		if !v.On(layout.LapOf(pos, cfg.Shift())) || v.Slots() == 0 {
			break // the newest claim: its owner is alive, or has died
		}
		if v.State() == layout.Commit {
			if _, _, flags := layout.UnpackMeta(d.Meta); flags&layout.FlagEnd != 0 {
				found = append(found, stream{int(v.Owner()), binary.NativeEndian.Uint32(d.Inline[:])})
			}
		}
		pos += v.Slots()
	}
	return found
}

// over reports whether n producers have come and none is there.
func (r *roster) over(n int) bool {
	came := r.present
	for i := layout.ConsumerIndex + 1; i < len(r.view.Members); i++ {
		if held, err := r.segment.Held(i); held || err != nil {
			return false
		}
		came += int(r.view.Members[i].Epoch.Load() - r.epochs[i])
	}
	return came >= n
}
