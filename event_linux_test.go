package shmring_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// What has happened to a ring can be read the next morning.
func TestEvents(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.WaitForRole = true
		p := openProducer(t, &o)
		require.NoError(t, p.CloseSend())
		require.NoError(t, p.Close())
		cmd, out := spawn(t, o.Dir, 0, 1, "stop")
		require.True(t, out.Scan())
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		o.KeepStream = true
		p = openProducer(t, &o)
		require.NoError(t, p.Close())
		_, err := shmring.Recover(soon(t), "r", at(o.Dir))
		require.NoError(t, err)

		events, err := shmring.Events(soon(t), "r", at(o.Dir))
		require.NoError(t, err)
		var texts []string
		for i, e := range events {
			require.EqualValues(t, i+1, e.Seq)
			require.False(t, e.Time.IsZero())
			text := e.Kind
			if e.Fate != "" {
				text += " " + e.Fate
			}
			texts = append(texts, text)
		}
		require.Equal(t, []string{"created", "attached", "ended ended", "left ended", "attached", "died died", "took over",
			"left left", "recovered"}, texts)
		died := events[5]
		require.Equal(t, cmd.Process.Pid, died.PID)
		require.Equal(t, os.Getpid(), died.By)
		require.Equal(t, shmring.RoleProducer, died.Role)
		require.NotZero(t, died.Position.Record)
		require.Contains(t, died.String(), "found by pid")

		// Only the last are kept.
		for range 100 {
			require.NoError(t, openProducer(t, &o).Close())
		}
		events, err = shmring.Events(soon(t), "r", at(o.Dir))
		require.NoError(t, err)
		require.Len(t, events, 128)
		require.EqualValues(t, 209, events[127].Seq)
		require.Equal(t, "left", events[127].Kind)
	})
}

// A consumer's death and an orphan are in it too, for those who still have the ring open.
func TestEventsOfARingInUse(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.WaitForRole = shmring.ModeOpenOrCreate, true
		p := openProducer(t, &o)
		path := p.Info().Path
		cmd, _ := spawn(t, o.Dir, 0, 0, "consume")
		become(t, "the consumer is there", func() bool {
			peers, err := p.Peers()
			require.NoError(t, err)
			return len(peers) == 2
		})
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		c := openConsumer(t, &o)
		events, err := shmring.Events(soon(t), "r", at(o.Dir))
		require.NoError(t, err)
		last := events[len(events)-2:]
		require.Equal(t, "died", last[0].Kind)
		require.Equal(t, shmring.RoleConsumer, last[0].Role)
		require.Equal(t, cmd.Process.Pid, last[0].PID)
		require.Equal(t, "took over", last[1].Kind)
		kept := path + ".kept.shmring"
		require.NoError(t, os.Link(path, kept))
		require.NoError(t, os.Remove(path))
		become(t, "the producer finds that out", func() bool {
			_, err := c.TryReceive(nil)
			return err != nil && p.TrySend(nil) != nil
		})
		become(t, "it is written down", func() bool {
			events, err := shmring.Events(soon(t), "r.shmring.kept", at(o.Dir))
			require.NoError(t, err)
			return events[len(events)-1].Kind == "orphaned"
		})
	})
}
