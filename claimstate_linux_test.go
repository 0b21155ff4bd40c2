package shmring_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// What has become of a claim on an SPSC ring is known to the producer that comes after its owner.
func TestClaimStateOfAPredecessor(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), Slots: 8, KeepStream: true, Mode: shmring.ModeOpenOrCreate}
	p, c := openProducer(t, &o), openConsumer(t, &o)
	for _, sent := range []bool{true, false, true, true, false} {
		claim, err := p.TryClaim(5)
		require.NoError(t, err)
		at, want := claim.Position(), shmring.ClaimUnsent
		if sent {
			require.NoError(t, claim.Commit())
			m, err := c.Next(soon(t))
			require.NoError(t, err)
			require.Equal(t, at, m.Position(), "a claim has the position of its message")
			m.Release()
			want = shmring.ClaimSent
		} else {
			claim.Abort()
		}
		require.NoError(t, p.Close())
		p = openProducer(t, &o)
		for range 20 { // whatever this one has sent
			require.Equal(t, want, p.ClaimState(at))
			require.NoError(t, p.TrySend([]byte("x")))
			m, err := c.Next(soon(t))
			require.NoError(t, err)
			m.Release()
		}
	}
}

// What becomes of a claim can be asked for by its position, as long as nobody else uses its slots.
func TestClaimState(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Slots: 8}
	p := openProducer(t, &o)
	c := openConsumer(t, &o)
	claim, err := p.TryClaim(5)
	require.NoError(t, err)
	first := claim.Position()
	require.Equal(t, shmring.ClaimUnsent, p.ClaimState(first))
	copy(claim.Bytes(), "first")
	require.NoError(t, claim.Commit())
	require.Equal(t, shmring.ClaimSent, p.ClaimState(first))
	m, err := c.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, first, m.Position(), "a claim has the position of its message")
	m.Release()
	require.Equal(t, shmring.ClaimSent, p.ClaimState(first), "released, and nobody has used the slot")

	claim, err = p.TryClaim(5)
	require.NoError(t, err)
	second := claim.Position()
	claim.Abort()
	require.Equal(t, shmring.ClaimUnsent, p.ClaimState(second))
	for range 16 {
		require.NoError(t, p.TrySend([]byte("x")))
		m, err := c.Next(t.Context())
		require.NoError(t, err)
		m.Release()
	}
	require.Equal(t, shmring.ClaimForgotten, p.ClaimState(first))
	require.NotEqual(t, "unknown", shmring.ClaimForgotten.String())
}

// Who passes on the stream of another ends it as that one ended.
func TestEndSendPassesAnyFateOn(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		var told []shmring.Fate
		o.OnStreamEnd = func(e shmring.StreamEnd) { told = append(told, e.Fate) }
		p := openProducer(t, &o)
		c := openConsumer(t, &o)
		for _, f := range []shmring.Fate{shmring.FateDied, shmring.FateFailed} {
			require.NoError(t, p.TrySend([]byte("x")))
			require.NoError(t, p.EndSend(f))
			require.ErrorIs(t, p.TrySend([]byte("y")), shmring.ErrEnded)
			m, err := c.Next(t.Context())
			require.NoError(t, err)
			m.Release()
			_, err = c.Next(t.Context())
			var end *shmring.StreamError
			require.ErrorAs(t, err, &end)
			require.Equal(t, f, end.Fate)
			require.NoError(t, p.Close())
			p = openProducer(t, &o)
		}
		require.Equal(t, []shmring.Fate{shmring.FateDied, shmring.FateFailed}, told)
		require.PanicsWithValue(t, "shmring: EndSend with fate 9", func() { p.EndSend(9) })
	})
}
