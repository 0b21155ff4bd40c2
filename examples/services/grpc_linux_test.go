package services_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/shmring/shmring/shmnet"
)

const (
	within = time.Minute
	huge   = 64 << 20
)

// service starts grpc-go's test server on a listener of this library, and connects to it.
func service(t *testing.T, c *shmnet.Config) testpb.TestServiceClient {
	l, err := shmnet.Listen(filepath.Join(t.TempDir(), "s"), c)
	require.NoError(t, err)
	size := []grpc.ServerOption{grpc.MaxRecvMsgSize(2 * huge), grpc.MaxSendMsgSize(2 * huge)}
	s := grpc.NewServer(size...)
	testpb.RegisterTestServiceServer(s, interop.NewTestServer())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		require.NoError(t, <-ended)
	})
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			return shmnet.Dial(ctx, path, c)
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*huge), grpc.MaxCallSendMsgSize(2*huge)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return testpb.NewTestServiceClient(conn)
}

// grpc-go's own calls of its interoperability tests, which end the process where one fails.
func TestGRPC(t *testing.T) {
	client := service(t, nil)
	for name, call := range map[string]func(context.Context, testpb.TestServiceClient, ...grpc.CallOption){
		"empty unary":        interop.DoEmptyUnaryCall,
		"large unary":        interop.DoLargeUnaryCall,
		"client streaming":   interop.DoClientStreaming,
		"server streaming":   interop.DoServerStreaming,
		"ping pong":          interop.DoPingPong,
		"empty stream":       interop.DoEmptyStream,
		"timeout":            interop.DoTimeoutOnSleepingServer,
		"cancel after begin": interop.DoCancelAfterBegin,
		"cancel after first": interop.DoCancelAfterFirstResponse,
		"metadata":           interop.DoCustomMetadata,
		"status and message": interop.DoStatusCodeAndMessage,
		"special status":     interop.DoSpecialStatusMessage,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			call(ctx, client)
		})
	}
}

func payload(n int) *testpb.Payload { return &testpb.Payload{Body: []byte(strings.Repeat("x", n))} }

func TestGRPCHugePayload(t *testing.T) {
	client := service(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	answer, err := client.UnaryCall(ctx, &testpb.SimpleRequest{ResponseSize: huge, Payload: payload(huge)})
	require.NoError(t, err)
	require.Len(t, answer.Payload.Body, huge)
}

// A thousand streams on one connection, all open at the same time.
func TestGRPCManyStreams(t *testing.T) {
	client := service(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var open, all sync.WaitGroup
	const n = 1000
	open.Add(n)
	for i := range n {
		all.Go(func() {
			s, err := client.FullDuplexCall(ctx)
			if err != nil {
				open.Done()
				t.Error(err)
				return
			}
			open.Done()
			open.Wait()
			ask := &testpb.StreamingOutputCallRequest{
				ResponseParameters: []*testpb.ResponseParameters{{Size: int32(i + 1)}}, Payload: payload(i),
			}
			for range 3 {
				if err := s.Send(ask); err != nil {
					t.Error(err)
					return
				}
				answer, err := s.Recv()
				if err != nil || len(answer.Payload.Body) != i+1 {
					t.Error(i, err)
					return
				}
			}
			_ = s.CloseSend()
			if _, err := s.Recv(); err != io.EOF {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// Who has no answer in time gets that, and a connection whose server goes away says so.
func TestGRPCDeadlineAndLoss(t *testing.T) {
	l, err := shmnet.Listen(filepath.Join(t.TempDir(), "s"), nil)
	require.NoError(t, err)
	s := grpc.NewServer()
	testpb.RegisterTestServiceServer(s, interop.NewTestServer())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			return shmnet.Dial(ctx, path, nil)
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	client := testpb.NewTestServiceClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	stream, err := client.FullDuplexCall(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&testpb.StreamingOutputCallRequest{
		ResponseParameters: []*testpb.ResponseParameters{{Size: 1}}, Payload: payload(1),
	}))
	_, err = stream.Recv()
	require.NoError(t, err)
	s.Stop()
	require.NoError(t, <-ended)
	_, err = stream.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	short, end := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer end()
	_, err = client.EmptyCall(short, &testpb.Empty{}, grpc.WaitForReady(true))
	require.Equal(t, codes.DeadlineExceeded, status.Code(err), "%v", err)
}
