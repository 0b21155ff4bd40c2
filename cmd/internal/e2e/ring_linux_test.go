package e2e

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// spy looks at a ring without taking part.
type spy struct {
	t    *testing.T
	seg  *shm.Segment
	view *layout.View
}

// watch opens the ring "r" once it is there.
func watch(t *testing.T, dir string) *spy {
	t.Helper()
	s := &spy{t: t}
	eventually(t, "ring", func() bool {
		var err error
		s.seg, err = shm.Open(context.Background(), "r", layout.MinSize, &shm.Options{Dir: dir})
		return err == nil
	})
	t.Cleanup(func() { s.seg.Close() })
	var err error
	s.view, err = layout.Parse(s.seg.Bytes())
	require.NoError(t, err)
	return s
}

// position is how many slots were released, of an SPSC ring how many records of 8 bytes.
func (s *spy) position() uint64 {
	if s.view.Config.Kind == layout.SPSC {
		return s.view.Hot.ReadPos.Load() / (layout.RecordHeader + 8)
	}
	return s.view.Hot.ReadPos.Load()
}

// consumed waits until at least so many were.
func (s *spy) consumed(n uint64) {
	s.t.Helper()
	eventually(s.t, "consumption", func() bool { return s.position() >= n })
}

// full waits until an MPSC ring's producers have claimed all of it.
func (s *spy) full() {
	s.t.Helper()
	eventually(s.t, "full ring", func() bool {
		read := s.view.Hot.ReadPos.Load()
		return s.view.Hot.Tail.Load().Pos(read)-read == uint64(s.view.Config.Slots)
	})
}

// producers waits until as many are there.
func (s *spy) producers(n int) {
	s.t.Helper()
	eventually(s.t, "producers", func() bool {
		there := 0
		for i := layout.ConsumerIndex + 1; i < len(s.view.Participants); i++ {
			if held, err := s.seg.Held(i); err == nil && held {
				there++
			}
		}
		return there == n
	})
}

// hasConsumer waits for the consumer.
func (s *spy) hasConsumer() {
	s.t.Helper()
	eventually(s.t, "consumer", func() bool {
		held, err := s.seg.Held(layout.ConsumerIndex)
		return err == nil && held
	})
}
