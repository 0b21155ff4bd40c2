package cli

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

func TestWhoHasARole(t *testing.T) {
	of := func(role shmring.Role, alive bool, pids ...int) (list []shmring.Peer) {
		for _, pid := range pids {
			list = append(list, shmring.Peer{Role: role, PID: pid, Alive: alive})
		}
		return list
	}
	for _, c := range []struct {
		role  shmring.Role
		peers []shmring.Peer
		want  string
	}{
		{shmring.RoleConsumer, nil, ""},
		{shmring.RoleConsumer, of(shmring.RoleConsumer, false, 7), ""},
		{shmring.RoleConsumer, append(of(shmring.RoleConsumer, true, 7), of(shmring.RoleProducer, true, 8)...),
			"waiting for the role: there is a consumer already (pid 7)"},
		{shmring.RoleProducer, of(shmring.RoleProducer, true, 7, 8),
			"waiting for the role: there are 2 producers already (pids 7, 8)"},
		{shmring.RoleProducer, of(shmring.RoleProducer, true, 1, 2, 3, 4, 5),
			"waiting for the role: there are 5 producers already (pids 1, 2, 3, 4, …)"},
		{shmring.RoleProducer, of(shmring.RoleProducer, false, 7),
			"waiting for a producer slot: a consumer has to pass what their dead owners left"},
	} {
		require.Equal(t, c.want, whoHas(c.role, c.peers))
	}
}

// Who makes the ring does not wait for somebody else to make it.
func TestWhoWaitsForARing(t *testing.T) {
	for _, c := range []struct {
		mode shmring.Mode
		role shmring.Role
		says bool
	}{
		{shmring.ModeDefault, shmring.RoleConsumer, true},
		{shmring.ModeDefault, shmring.RoleProducer, false},
		{shmring.ModeOpenOrCreate, shmring.RoleConsumer, false},
	} {
		r := &Ring{Name: "r", Options: shmring.Options{Dir: t.TempDir(), Mode: c.mode}}
		want := ""
		if c.says {
			want = `waiting for ring "r" to be created in ` + r.Options.Dir
		}
		require.Equal(t, want, r.whyClosed(c.role))
	}
}

// The same is said once a minute, something else at once, and nothing when the wait is over.
func TestStillSaysAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w bytes.Buffer
		text := "a"
		s := NewStill(&Out{Name: "x", W: &w}, func() string { return text })
		said := func() string { synctest.Wait(); return strings.ReplaceAll(w.String(), "\n", " ") }
		time.Sleep(time.Minute) // of the bubble's clock: no wait has begun
		require.Empty(t, said())
		s.Begin()
		time.Sleep(stillAfter - time.Millisecond)
		require.Empty(t, said())
		time.Sleep(stillAfter)
		require.Equal(t, "x: a ", said())
		time.Sleep(stillAgain - stillAfter)
		require.Equal(t, "x: a ", said())
		time.Sleep(2 * stillAfter)
		require.Equal(t, "x: a x: a ", said())
		text = "b"
		time.Sleep(stillAfter)
		require.Equal(t, "x: a x: a x: b ", said())
		s.End()
		time.Sleep(2 * stillAgain)
		require.Equal(t, "x: a x: a x: b ", said())
		s.Close()
	})
}
