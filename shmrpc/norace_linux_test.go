//go:build !race

package shmrpc_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/shmrpc"
)

// A call that is carried out where it is read allocates nothing, on neither side.
func TestCallInPlaceDoesNotAllocate(t *testing.T) {
	c := client(t, serve(t, &shmrpc.Server{InPlace: true, Handler: (&asked{}).handle}), nil)
	sent, buf, ctx := make([]byte, 32), make([]byte, 0, 32), context.Background()
	allocated := testing.AllocsPerRun(1000, func() {
		var err error
		buf, err = c.Call(ctx, echo, sent, buf[:0])
		require.NoError(t, err)
	})
	require.Zero(t, allocated)
}
