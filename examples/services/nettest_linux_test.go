package services_test

import (
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/shmring/shmring/shmnet"
)

// A connection does what net.Conn says, as the Go project's own test of that has it.
func TestConn(t *testing.T) {
	for name, c := range map[string]*shmnet.Config{
		"default":  nil,
		"smallest": {Buffer: 4 << 10},
		"sleep":    {Wait: shmnet.WaitSleep},
	} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				l, err := shmnet.Listen(filepath.Join(t.TempDir(), "s"), c)
				if err != nil {
					return nil, nil, nil, err
				}
				c1, err = shmnet.Dial(t.Context(), l.Addr().String(), c)
				if err != nil {
					_ = l.Close()
					return nil, nil, nil, err
				}
				c2, err = l.Accept()
				return c1, c2, func() { _, _, _ = c1.Close(), c2.Close(), l.Close() }, err
			})
		})
	}
}
