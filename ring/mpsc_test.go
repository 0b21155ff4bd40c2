package ring

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// A send that was between its claim and its commit when the handle was closed may
// have committed into memory that nobody shares any more: it must not say that the
// message was sent.
func TestPublishAfterClose(t *testing.T) {
	cfg := layout.Config{Kind: layout.MPSC, Slots: 8, SlotSize: 64, Participants: 2, Doorbell: layout.Futex}
	size, err := cfg.Size()
	require.NoError(t, err)
	seg := shm.Heap(int(size))
	v, err := layout.Format(seg.Bytes(), cfg)
	require.NoError(t, err)
	p, err := NewProducer(v, Config{Locks: seg})
	require.NoError(t, err)
	pos, err := p.reserveMPSC(1)
	require.NoError(t, err)
	p.Close()
	require.ErrorIs(t, p.commit(pos, 1, 0), ErrClosed)
}
