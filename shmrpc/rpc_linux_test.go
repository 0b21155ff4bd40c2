package shmrpc_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/shmnet"
	"github.com/shmring/shmring/shmrpc"
)

const within = 10 * time.Second

// The methods of the test's server.
const (
	echo = iota
	fail
	wait    // for the end of the context
	inPlace // echo, filled in place
	silent  // wait, and tell nobody
	nothing
)

// asked tells a test of what a handler has seen.
type asked struct {
	begun, ended chan struct{}
}

// come waits for what a handler tells.
func come(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(within):
		t.Fatal("it does not come")
	}
}

func (a *asked) handle(ctx context.Context, r *shmrpc.Request) error {
	switch r.Method {
	case echo:
		return r.Reply(r.Bytes)
	case fail:
		return &shmrpc.Error{Code: 7, Text: string(r.Bytes)}
	case wait:
		a.begun <- struct{}{}
		<-ctx.Done()
		a.ended <- struct{}{}
		return ctx.Err()
	case silent:
		<-ctx.Done()
		return ctx.Err()
	case inPlace:
		return r.ReplyInPlace(len(r.Bytes)+10, func(b []byte) (int, error) { return copy(b, r.Bytes), nil })
	}
	return nil
}

// serve starts a server until the test ends, and returns where.
func serve(t testing.TB, s *shmrpc.Server) (path string) {
	path = filepath.Join(t.TempDir(), "s")
	l, err := shmnet.Listen(path, nil)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.Equal(t, shmrpc.ErrServerClosed, <-ended)
	})
	return path
}

func client(t testing.TB, path string, c *shmrpc.Config) *shmrpc.Client {
	cl := shmrpc.NewClient(path, c)
	t.Cleanup(func() { _ = cl.Close() })
	return cl
}

func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	return ctx
}

func each(t *testing.T, test func(t *testing.T, s *shmrpc.Server, a *asked)) {
	for name, in := range map[string]bool{"goroutines": false, "in place": true} {
		t.Run(name, func(t *testing.T) {
			a := &asked{make(chan struct{}, 1000), make(chan struct{}, 1000)}
			test(t, &shmrpc.Server{Handler: a.handle, InPlace: in}, a)
		})
	}
}

func TestCalls(t *testing.T) {
	each(t, func(t *testing.T, s *shmrpc.Server, _ *asked) {
		c := client(t, serve(t, s), nil)
		for _, n := range []int{0, 1, 48, 1000, 32<<10 - 32, 32<<10 - 31, 100000, 5 << 20} {
			sent := bytes.Repeat([]byte{byte(n)}, n)
			for _, method := range []uint32{echo, inPlace} {
				got, err := c.Call(bounded(t), method, sent, []byte("before"))
				require.NoError(t, err)
				require.True(t, bytes.Equal(append([]byte("before"), sent...), got), "%d bytes", n)
			}
		}
		got, err := c.Call(bounded(t), nothing, nil, nil)
		require.NoError(t, err)
		require.Empty(t, got)
		_, err = c.Call(bounded(t), fail, []byte("because"), nil)
		var e *shmrpc.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, shmrpc.Error{Code: 7, Text: "because"}, *e)
		refused := errors.New("refused")
		require.ErrorIs(t, c.Do(bounded(t), echo, 5, func([]byte) (int, error) { return 0, refused }, nil), refused)
		err = c.Do(bounded(t), echo, 5, func([]byte) (int, error) { return 5, nil }, func([]byte) error { return refused })
		require.ErrorIs(t, err, refused)
		require.Panics(t, func() { _ = c.Do(bounded(t), echo, 5, func([]byte) (int, error) { panic("x") }, nil) })
		require.Panics(t, func() {
			_ = c.Do(bounded(t), echo, 5, func([]byte) (int, error) { return 5, nil }, func([]byte) error { panic("x") })
		})
		got, err = c.Call(bounded(t), echo, []byte("after"), nil)
		require.NoError(t, err)
		require.Equal(t, "after", string(got))
	})
}

// The handler's context has the deadline of the call's, also where nobody can be told that it is over.
func TestDeadlineTravels(t *testing.T) {
	for _, in := range []bool{false, true} {
		c := client(t, serve(t, &shmrpc.Server{InPlace: in, Handler: func(ctx context.Context, r *shmrpc.Request) error {
			d, ok := ctx.Deadline()
			if !ok {
				return nil
			}
			return r.Reply([]byte(time.Until(d).String()))
		}}), nil)
		got, err := c.Call(bounded(t), 0, nil, nil)
		require.NoError(t, err)
		left, err := time.ParseDuration(string(got))
		require.NoError(t, err)
		require.LessOrEqual(t, left, within)
		got, err = c.Call(context.Background(), 0, nil, nil)
		require.NoError(t, err)
		require.Empty(t, got)
	}
}

// Many goroutines of many clients: each gets its own reply.
func TestManyCallers(t *testing.T) {
	each(t, func(t *testing.T, s *shmrpc.Server, _ *asked) {
		path := serve(t, s)
		var all sync.WaitGroup
		for i := range 4 {
			c := client(t, path, nil)
			for j := range 16 {
				all.Go(func() {
					var buf []byte
					for k := range 200 {
						sent := binary.AppendUvarint(nil, uint64(i)<<40|uint64(j<<20|k))
						sent = append(sent, make([]byte, k*k)...)
						var err error
						if buf, err = c.Call(bounded(t), echo, sent, buf[:0]); err != nil || !bytes.Equal(sent, buf) {
							t.Error(err, len(buf))
							return
						}
					}
				})
			}
		}
		all.Wait()
	})
}

// A call that is cancelled, or late, returns at once, the server is told, and others go on.
func TestCancel(t *testing.T) {
	a := &asked{make(chan struct{}, 10), make(chan struct{}, 10)}
	c := client(t, serve(t, &shmrpc.Server{Handler: a.handle}), nil)
	_, err := c.Call(bounded(t), echo, nil, nil)
	require.NoError(t, err)
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-a.begun
			cancel()
		}()
		_, err := c.Call(ctx, wait, nil, nil)
		require.ErrorIs(t, err, context.Canceled)
		come(t, a.ended)
		late, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err = c.Call(late, silent, nil, nil) // it may be over before it was sent
		cancel()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		got, err := c.Call(bounded(t), echo, []byte("x"), nil)
		require.NoError(t, err)
		require.Equal(t, "x", string(got))
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Call(over, echo, nil, nil)
	require.ErrorIs(t, err, context.Canceled)
}

// Who waits for its own reply reads those of others; when it is cancelled another takes its place.
func TestReaderIsCancelled(t *testing.T) {
	const n = 100 // more than have a place of their own in the client
	release := make(chan struct{})
	var begun sync.WaitGroup
	s := &shmrpc.Server{MaxRunning: n, Handler: func(ctx context.Context, r *shmrpc.Request) error {
		begun.Done()
		select {
		case <-release:
		case <-ctx.Done():
		}
		return r.Reply(r.Bytes)
	}}
	c := client(t, serve(t, s), nil)
	ctx, cancel := context.WithCancel(bounded(t))
	var all, cancelled sync.WaitGroup
	for i := range n {
		begun.Add(1)
		group, use := &all, bounded(t)
		if i%2 == 0 {
			group, use = &cancelled, ctx
		}
		group.Go(func() {
			got, err := c.Call(use, 1, []byte{byte(i)}, nil)
			switch {
			case i%2 == 0 && !errors.Is(err, context.Canceled):
				t.Error(err)
			case i%2 == 1 && (err != nil || !bytes.Equal(got, []byte{byte(i)})):
				t.Error(got, err)
			}
		})
		if i == 0 {
			begun.Wait() // so it is the one that reads, or is about to
		}
	}
	begun.Wait()
	cancel()
	cancelled.Wait()
	close(release)
	all.Wait()
}

// A take that panics does so in the call that it is of, whoever has read the reply.
func TestPanicIsOnesOwn(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	c := client(t, serve(t, &shmrpc.Server{Handler: func(_ context.Context, r *shmrpc.Request) error {
		if r.Method == wait {
			begun <- struct{}{}
			<-release
		}
		return r.Reply(r.Bytes)
	}}), &shmrpc.Config{Idempotent: func(uint32) bool { return true }})
	given := make(chan error, 1)
	go func() { // it reads for the other
		_, err := c.Call(bounded(t), wait, nil, nil)
		given <- err
	}()
	come(t, begun)
	mine, takes := errors.New("mine"), 0
	func() {
		defer func() {
			err, ok := recover().(error)
			require.True(t, ok)
			require.ErrorIs(t, err, mine)
			require.Contains(t, err.Error(), "TestPanicIsOnesOwn", "where")
		}()
		_ = c.Do(bounded(t), echo, 5, func([]byte) (int, error) { return 5, nil }, func([]byte) error {
			if takes++; takes == 1 {
				panic(mine)
			}
			return nil
		})
	}()
	require.Equal(t, 1, takes)
	letGo()
	require.NoError(t, <-given)
	got, err := c.Call(bounded(t), echo, []byte("after"), nil)
	require.NoError(t, err)
	require.Equal(t, "after", string(got))
}

// Calls whose server is closed are lost; the next find its successor.
func TestServerRestarts(t *testing.T) {
	a := &asked{make(chan struct{}, 10), make(chan struct{}, 10)}
	path := filepath.Join(t.TempDir(), "s")
	start := func() (*shmrpc.Server, chan error) {
		l, err := shmnet.Listen(path, nil)
		require.NoError(t, err)
		s, ended := &shmrpc.Server{Handler: a.handle}, make(chan error, 1)
		go func() { ended <- s.Serve(l) }()
		return s, ended
	}
	c := client(t, path, nil)
	_, err := c.Call(bounded(t), echo, nil, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	patient := client(t, path, &shmrpc.Config{Idempotent: func(m uint32) bool { return m == wait || m == echo }})
	for range 10 {
		s, ended := start()
		_, err = c.Call(bounded(t), echo, nil, nil)
		require.NoError(t, err)
		lost := make(chan error, 1)
		go func() {
			_, err := c.Call(bounded(t), wait, nil, nil)
			lost <- err
		}()
		come(t, a.begun)
		require.NoError(t, s.Close())
		require.Equal(t, shmrpc.ErrServerClosed, <-ended)
		come(t, a.ended)
		err = <-lost
		require.ErrorIs(t, err, shmrpc.ErrLost)
		var l *shmrpc.LostError
		require.ErrorAs(t, err, &l)
		require.True(t, l.Sent)
		// Whoever may be asked again waits for the successor.
		again := make(chan error, 1)
		go func() {
			got, err := patient.Call(bounded(t), echo, []byte("x"), nil)
			if err == nil && string(got) != "x" {
				err = errors.New(string(got))
			}
			again <- err
		}()
		s, ended = start()
		require.NoError(t, <-again)
		require.NoError(t, s.Close())
		<-ended
	}
}

func TestClientCloses(t *testing.T) {
	a := &asked{make(chan struct{}, 10), make(chan struct{}, 10)}
	c := client(t, serve(t, &shmrpc.Server{Handler: a.handle}), nil)
	lost := make(chan error, 1)
	go func() {
		_, err := c.Call(context.Background(), wait, nil, nil) // the server is told of no deadline
		lost <- err
	}()
	come(t, a.begun)
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-lost, shmrpc.ErrLost)
	come(t, a.ended) // the handler is told
	_, err := c.Call(bounded(t), echo, nil, nil)
	require.ErrorIs(t, err, shmring.ErrClosed)
	require.NoError(t, c.Close())
}

// A server carries so many requests of a client out at a time, and takes no more from its ring.
func TestMaxRunning(t *testing.T) {
	var now, most atomic.Int32
	s := &shmrpc.Server{MaxRunning: 3, Handler: func(context.Context, *shmrpc.Request) error {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		runtime.Gosched()
		now.Add(-1)
		return nil
	}}
	c := client(t, serve(t, s), nil)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 20 {
				if _, err := c.Call(bounded(t), 0, make([]byte, 3000), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, most.Load(), int32(3))
	require.Positive(t, most.Load())
}

// A server that replies where it reads waits for room for a reply that nobody wants any more, while the next caller
// waits for room for his request. Somebody reads meanwhile.
func TestUnwantedReplyStopsNobody(t *testing.T) {
	const much = 4 << 20 // more than a connection holds
	begun, goOn := make(chan struct{}), make(chan struct{})
	c := client(t, serve(t, &shmrpc.Server{InPlace: true, Handler: func(_ context.Context, r *shmrpc.Request) error {
		if r.Method != wait {
			return r.Reply(r.Bytes[:1])
		}
		begun <- struct{}{}
		<-goOn
		return r.Reply(make([]byte, much))
	}}), nil)
	for range 3 {
		ctx, cancel := context.WithCancel(bounded(t))
		given := make(chan error, 1)
		go func() {
			_, err := c.Call(ctx, wait, nil, nil)
			given <- err
		}()
		come(t, begun)
		cancel()
		require.ErrorIs(t, <-given, context.Canceled)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				got, err := c.Call(bounded(t), echo, make([]byte, much), nil)
				assert.NoError(t, err)
				assert.Len(t, got, 1)
			})
		}
		goOn <- struct{}{}
		all.Wait()
	}
}

// A call whose context ends while the request of another is being sent does not wait for that.
func TestContextEndsBehindAnothersRequest(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	c := client(t, serve(t, &shmrpc.Server{InPlace: true, Handler: func(_ context.Context, r *shmrpc.Request) error {
		if r.Method == wait {
			begun <- struct{}{}
			<-goOn
		}
		return nil
	}}), nil)
	long := make(chan error, 2)
	go func() {
		_, err := c.Call(bounded(t), wait, nil, nil)
		long <- err
	}()
	come(t, begun)
	go func() {
		_, err := c.Call(bounded(t), echo, make([]byte, 8<<20), nil)
		long <- err
	}()
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		_, err := c.Call(ctx, echo, nil, nil)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	close(goOn)
	require.NoError(t, <-long)
	require.NoError(t, <-long)
}

// What is longer than the other end takes is said to whom it concerns, and the connection goes on: for one frame,
// for many, and for whoever comes next.
func TestTooLong(t *testing.T) {
	const most = 100_000
	for name, inPlace := range map[string]bool{"in place": true, "beside": false} {
		t.Run(name, func(t *testing.T) {
			over, meanwhile := make(chan struct{}), make(chan error, 1)
			path := serve(t, &shmrpc.Server{InPlace: inPlace, MaxPayload: most, Handler: func(ctx context.Context,
				r *shmrpc.Request) error {
				switch r.Method {
				case fail:
					return errors.New(strings.Repeat("x", 200))
				case wait:
					select {
					case <-over:
					case <-ctx.Done():
					}
					return ctx.Err()
				}
				return r.Reply(make([]byte, binary.LittleEndian.Uint64(r.Bytes)))
			}})
			c := client(t, path, &shmrpc.Config{MaxPayload: 100})
			go func() {
				if inPlace { // where one is carried out at a time
					meanwhile <- nil
					return
				}
				_, err := c.Call(bounded(t), wait, nil, nil)
				meanwhile <- err
			}()
			ask := func(request, reply int) error {
				b := make([]byte, request)
				binary.LittleEndian.PutUint64(b, uint64(reply))
				got, err := c.Call(bounded(t), echo, b, nil)
				if err == nil {
					require.Len(t, got, reply)
				}
				return err
			}
			for range 2 {
				require.NoError(t, ask(most, 100))
				for _, n := range []int{most + 1, 10 * most} {
					err := ask(n, 0)
					require.ErrorIs(t, err, shmrpc.ErrTooLong)
					require.EqualError(t, err, fmt.Sprintf(
						"shmrpc: a request of %d bytes, and the server takes 100000 at most (Server.MaxPayload)", n))
				}
				for _, n := range []int{101, 10 * most} {
					err := ask(8, n)
					require.ErrorIs(t, err, shmrpc.ErrReplyTooLong)
					require.NotErrorIs(t, err, shmrpc.ErrTooLong)
					require.EqualError(t, err, fmt.Sprintf(
						"shmrpc: a reply of %d bytes, and the client takes 100 at most (Config.MaxPayload)", n))
				}
				_, err := c.Call(bounded(t), fail, nil, nil)
				require.EqualError(t, err, strings.Repeat("x", 200), "the text of an error is no payload")
				require.NotErrorIs(t, err, shmrpc.ErrTooLong)
			}
			close(over)
			require.NoError(t, <-meanwhile, "a call that was under way all the time")
		})
	}
}

func frame(kind, more byte, id, size uint64, payload string) []byte {
	b := make([]byte, 32, 32+len(payload))
	b[0], b[1] = kind, more
	binary.LittleEndian.PutUint64(b[8:], id)
	binary.LittleEndian.PutUint64(b[24:], size)
	return append(b, payload...)
}

// framesThatLie are of a client; by kind, not of a server.
func framesThatLie() map[string][][]byte {
	return map[string][][]byte{
		"short":           {make([]byte, 10)},
		"zeros":           {make([]byte, 32)},
		"kind":            {frame(9, 0, 1, 0, "")},
		"more":            {frame(1, 2, 1, 0, "")},
		"length":          {frame(1, 0, 1, 5, "four")},
		"too long":        {frame(1, 1, 1, 1<<62, "x")},
		"another piece":   {frame(1, 1, 1, 2, "x"), frame(1, 0, 2, 2, "x")},
		"empty piece":     {frame(1, 1, 1, 9, "x"), frame(1, 1, 1, 9, "")},
		"too many pieces": {frame(1, 1, 1, 3, "xx"), frame(1, 0, 1, 3, "xx")},
		"too few":         {frame(1, 1, 1, 9, "xx"), frame(1, 0, 1, 9, "xx")},
		"a reply":         {frame(2, 0, 1, 0, "")},
		"same number":     {frame(1, 0, 1, 0, ""), frame(1, 0, 1, 0, "")},
	}
}

// A peer that breaks the rules loses its connection, and nobody else does.
func TestClientsThatLie(t *testing.T) {
	lies := framesThatLie()

	a := &asked{make(chan struct{}, 100), make(chan struct{}, 100)}
	path := serve(t, &shmrpc.Server{Handler: func(ctx context.Context, r *shmrpc.Request) error {
		if r.Method == 0 && len(r.Bytes) == 0 {
			<-ctx.Done()
			return nil
		}
		return a.handle(ctx, r)
	}})
	honest := client(t, path, nil)
	for name, lie := range lies {
		c, err := shmnet.Dial(t.Context(), path, nil)
		require.NoError(t, err)
		for _, b := range lie {
			_, err = c.Write(b)
			require.NoError(t, err)
		}
		require.NoError(t, c.SetReadDeadline(time.Now().Add(within)))
		_, err = c.Read(make([]byte, 1))
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, name)
		require.Error(t, err)
		require.NoError(t, c.Close())
		_, err = honest.Call(bounded(t), echo, []byte("x"), nil)
		require.NoError(t, err)
	}
}

func TestServersThatLie(t *testing.T) {
	lies := framesThatLie()
	lies["request"] = [][]byte{frame(1, 0, 1, 0, "")}
	lies["unasked"] = [][]byte{frame(2, 0, 77, 0, "")}
	delete(lies, "a reply")
	delete(lies, "same number")
	for name, lie := range lies {
		l, err := shmnet.Listen(filepath.Join(t.TempDir(), "s"), nil)
		require.NoError(t, err)
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = c.Read(make([]byte, 1000))
			for _, b := range lie {
				if b[0] == 1 && name != "request" {
					b[0] = 2
				}
				_, _ = c.Write(b)
			}
			_ = c.SetReadDeadline(time.Now().Add(within))
			_, _ = c.Read(make([]byte, 1))
		}()
		_, err = client(t, l.Addr().String(), nil).Call(bounded(t), echo, nil, nil)
		require.ErrorIs(t, err, shmrpc.ErrLost, name)
		require.ErrorIs(t, err, shmring.ErrCorrupt, name)
		require.NoError(t, l.Close())
	}
}

// A handler that replies twice is told of its mistake, and the client gets the first reply only.
func TestSecondReply(t *testing.T) {
	again := make(chan any, 1)
	c := client(t, serve(t, &shmrpc.Server{Handler: func(_ context.Context, r *shmrpc.Request) error {
		defer func() { again <- recover() }()
		if err := r.Reply([]byte("first")); err != nil {
			return err
		}
		return r.Reply([]byte("second"))
	}}), nil)
	for range 3 {
		got, err := c.Call(bounded(t), 0, nil, nil)
		require.NoError(t, err)
		require.Equal(t, "first", string(got))
		require.NotNil(t, <-again)
	}
}

type point struct {
	X, Y int64
	Name [8]byte
}

type text string

func (s text) AppendBinary(b []byte) ([]byte, error) { return append(b, s...), nil }
func (s *text) UnmarshalBinary(b []byte) error       { *s = text(strings.Clone(string(b))); return nil }

func TestTyped(t *testing.T) {
	c := client(t, serve(t, &shmrpc.Server{InPlace: true, Handler: func(_ context.Context, r *shmrpc.Request) error {
		if r.Method == 1 {
			return r.Reply(r.Bytes)
		}
		p, err := shmrpc.Struct[point](r)
		if err != nil {
			return err
		}
		p.X, p.Y = p.Y, p.X
		return shmrpc.ReplyStruct(r, &p)
	}}), nil)
	p, err := shmrpc.CallStruct[point](bounded(t), c, 0, &point{1, 2, [8]byte{'a'}})
	require.NoError(t, err)
	require.Equal(t, point{2, 1, [8]byte{'a'}}, p)
	_, err = shmrpc.CallStruct[point](bounded(t), c, 0, &struct{ A byte }{})
	var e *shmrpc.Error
	require.ErrorAs(t, err, &e)
	_, err = shmrpc.CallStruct[int32](bounded(t), c, 0, &point{})
	require.ErrorIs(t, err, shmring.ErrCorrupt)
	require.Panics(t, func() { _, _ = shmrpc.CallStruct[int](bounded(t), c, 0, &struct{ P *int }{}) })
	var back text
	require.NoError(t, shmrpc.CallBinary(bounded(t), c, 1, text("hello"), &back))
	require.Equal(t, text("hello"), back)
}

// BenchmarkCall is a call of 32 bytes within one process, beside a Unix socket.
func BenchmarkCall(b *testing.B) {
	for name, in := range map[string]bool{"goroutines": false, "in place": true} {
		b.Run(name, func(b *testing.B) {
			c := client(b, serve(b, &shmrpc.Server{InPlace: in, Handler: (&asked{}).handle}), nil)
			sent, buf := make([]byte, 32), []byte(nil)
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if buf, err = c.Call(ctx, echo, sent, buf[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("bare connection", func(b *testing.B) {
		l, err := shmnet.Listen(filepath.Join(b.TempDir(), "s"), nil)
		require.NoError(b, err)
		defer l.Close()
		roundTrips(b, l, func() (net.Conn, error) { return shmnet.Dial(b.Context(), l.Addr().String(), nil) })
	})
	b.Run("Unix socket", func(b *testing.B) {
		l, err := net.Listen("unix", filepath.Join(b.TempDir(), "s"))
		require.NoError(b, err)
		defer l.Close()
		roundTrips(b, l, func() (net.Conn, error) { return net.Dial("unix", l.Addr().String()) })
	})
}

func roundTrips(b *testing.B, l net.Listener, dial func() (net.Conn, error)) {
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		buf := make([]byte, 32)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			_, _ = c.Write(buf)
		}
	}()
	c, err := dial()
	require.NoError(b, err)
	defer c.Close()
	buf := make([]byte, 32)
	for b.Loop() {
		_, _ = c.Write(buf)
		_, _ = c.Read(buf)
	}
}

// The errors that most people meet read well, in one line.
func TestErrorsReadWell(t *testing.T) {
	require.PanicsWithValue(t, "shmrpc: Server.Handler is nil", func() { _ = new(shmrpc.Server).Serve(nil) })
	lost := &shmrpc.LostError{Sent: true, Err: io.EOF}
	require.ErrorIs(t, lost, io.EOF)
	require.ErrorContains(t, lost, ": the server has closed the connection (EOF)")
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	_, err := shmrpc.NewClient(filepath.Join(t.TempDir(), "s"), nil).Call(ctx, 0, nil, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.EqualError(t, err, context.DeadlineExceeded.Error())
	timeout, ok := errors.AsType[net.Error](err)
	require.True(t, ok && timeout.Timeout())
}
