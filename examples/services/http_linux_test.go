package services_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/shmnet"
)

// web starts an HTTP server and returns a client of it. Its answer is the body of the request.
func web(t *testing.T, handler http.Handler, protocols *http.Protocols) *http.Client {
	l, err := shmnet.Listen(filepath.Join(t.TempDir(), "s"), nil)
	require.NoError(t, err)
	s := &http.Server{Handler: handler, Protocols: protocols}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		require.Equal(t, http.ErrServerClosed, <-ended)
	})
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return shmnet.Dial(ctx, l.Addr().String(), nil)
		},
		Protocols: protocols,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: within}
}

func TestHTTP(t *testing.T) {
	one, two := new(http.Protocols), new(http.Protocols)
	one.SetHTTP1(true)
	two.SetUnencryptedHTTP2(true)
	for name, p := range map[string]*http.Protocols{"HTTP/1.1": one, "HTTP/2": two} {
		t.Run(name, func(t *testing.T) {
			client := web(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				all, _ := io.ReadAll(r.Body) // HTTP/1.1 is done with it before it answers
				_, _ = w.Write(all)
			}), p)
			var all sync.WaitGroup
			for i := range 16 {
				all.Go(func() {
					for n := range 20 {
						sent := bytes.Repeat([]byte(fmt.Sprint(i, n, ".")), 1+i*n*37)
						answer, err := client.Post("http://shm/", "", bytes.NewReader(sent))
						if err != nil {
							t.Error(err)
							return
						}
						got, err := io.ReadAll(answer.Body)
						_ = answer.Body.Close()
						if err != nil || sha256.Sum256(got) != sha256.Sum256(sent) {
							t.Errorf("%d bytes came of %d: %v", len(got), len(sent), err)
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// A context that ends takes its request with it, and the server is told.
func TestHTTPCancel(t *testing.T) {
	begun, gone := make(chan struct{}), make(chan struct{})
	client := web(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(gone)
	}), nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://shm/", nil)
	require.NoError(t, err)
	go func() {
		<-begun
		cancel()
	}()
	_, err = client.Do(req)
	require.ErrorIs(t, err, context.Canceled)
	<-gone
}
