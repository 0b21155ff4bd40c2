package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/shmnet"
	"github.com/shmring/shmring/shmrpc"
)

// clients is how many make calls at a time.
const clients = 8

// answer is what the server replies to a request: who asked what has to be in it.
func answer(request []byte) []byte {
	reply := append([]byte("answer to "), request...)
	for i := range reply {
		reply[i] ^= byte(i)
	}
	return reply
}

// question is one that nobody else asks, and of many lengths.
func question(who int, n uint64) []byte {
	b := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(who)), n)
	return append(b, make([]byte, n*n%4000)...)
}

func rpcServer(inPlace bool) *shmrpc.Server {
	return &shmrpc.Server{InPlace: inPlace, Handler: func(_ context.Context, r *shmrpc.Request) error {
		return r.Reply(answer(r.Bytes))
	}}
}

// rpcVictim is the main of a child that serves, or makes calls, until it is killed.
func rpcVictim(a arguments) error {
	if a.Listens {
		l, err := shmnet.Listen(a.Path, &shmnet.Config{Buffer: a.Buffer})
		if err != nil {
			return err
		}
		return rpcServer(a.Traffic%2 == 0).Serve(l)
	}
	c := shmrpc.NewClient(a.Path, nil)
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range 3 {
		all.Go(func() {
			for n := uint64(0); failed.Load() == nil; n++ {
				if err := ask(c, 1000+i, n); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	all.Wait()
	return *failed.Load()
}

var errWrongReply = errors.New("wrong reply")

func ask(c *shmrpc.Client, who int, n uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), labs.Patience)
	defer cancel()
	q := question(who, n)
	got, err := c.Call(ctx, 0, q, nil)
	if err == nil && !bytes.Equal(got, answer(q)) {
		err = fmt.Errorf("%w: %d bytes to a question of %d", errWrongReply, len(got), len(q))
	}
	return err
}

// runRPC kills n servers, or clients, while others make calls.
func (s *survivor) runRPC(n int, listens bool) (err error) {
	path := filepath.Join(s.lab.Files, "rpc")
	var server *shmrpc.Server
	if !listens {
		l, err := shmnet.Listen(path, nil)
		if err != nil {
			return err
		}
		server = rpcServer(false)
		s.calls.Go(func() { _ = server.Serve(l) })
	}
	ctx, stop := context.WithCancel(s.lab.Ctx)
	defer stop()
	var answered atomic.Int64
	for who := range clients {
		// Half of them ask again by themselves.
		c := shmrpc.NewClient(path, &shmrpc.Config{Idempotent: func(uint32) bool { return who%2 == 0 }})
		s.calls.Go(func() {
			defer c.Close()
			s.askOn(ctx, c, who, listens, &answered)
		})
	}
	for i := 0; i < n && s.lab.Ctx.Err() == nil && err == nil; i++ {
		err = s.rpcRound(i, arguments{Path: path, Listens: listens, RPC: true, Traffic: i}, &answered)
	}
	stop()
	if server != nil {
		err = errors.Join(err, server.Close())
	}
	ended := make(chan struct{})
	go func() { s.calls.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(2 * labs.Patience):
		err = errors.Join(err, errors.New("a call does not end"))
	}
	s.r.Connections = s.r.Kills // there is nothing to count them by
	return err
}

// rpcRound is the life of one victim.
func (s *survivor) rpcRound(i int, a arguments, answered *atomic.Int64) error {
	child, err := s.lab.Spawn(fmt.Sprint("victim ", i), a, nil)
	if err != nil {
		return err
	}
	before := answered.Load()
	if !s.lab.Within(func() bool { return answered.Load() > before+clients }) {
		return errors.New("nobody gets an answer")
	}
	time.Sleep(s.chance(most))
	child.Kill()
	if s.r.Kills++; !child.WasKilled() {
		return fmt.Errorf("victim %d ended by itself: %s", i, child.Stderr())
	}
	return nil
}

// askOn makes calls until ctx ends, and judges what they return.
func (s *survivor) askOn(ctx context.Context, c *shmrpc.Client, who int, killed bool, answered *atomic.Int64) {
	for n := uint64(0); ctx.Err() == nil; n++ {
		call, cancel := context.WithTimeout(ctx, labs.Patience)
		q := question(who, n)
		got, err := c.Call(call, 0, q, nil)
		cancel()
		switch {
		case err == nil && bytes.Equal(got, answer(q)):
			answered.Add(1)
		case err == nil:
			s.problem("client %d: a wrong reply of %d bytes to a question of %d", who, len(got), len(q))
			return
		case ctx.Err() != nil:
		case !killed:
			s.problem("client %d: %v, and the server lives", who, err)
			return
		case errors.Is(err, shmrpc.ErrLost):
			s.count("calls lost")
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
			s.count("calls without a server")
			time.Sleep(100 * time.Microsecond)
		case isCutOff(err):
			s.count("connecting was cut off")
		default:
			s.problem("client %d: %v", who, err)
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r.Ends["calls answered"] = int(answered.Load())
}
