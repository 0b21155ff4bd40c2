package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/shmnet"
)

// survivor is the side that is not killed.
type survivor struct {
	lab *labs.Lab

	mu     sync.Mutex
	r      *result
	deaths map[int]*death // by process id
	calls  sync.WaitGroup
}

// death is that of a victim.
type death struct {
	killed time.Time
	told   time.Time     // by a pipe that the victim had open: sooner nobody can know
	known  chan struct{} // closed when told stands
}

func newSurvivor(l *labs.Lab, r *result) *survivor {
	return &survivor{lab: l, r: r, deaths: map[int]*death{}}
}

const most = 3 * time.Millisecond // a victim lives so long, from the first connection on

// run kills n victims.
func (s *survivor) run(n int, listens bool) error {
	path := filepath.Join(s.lab.Files, "socket")
	var l *shmnet.Listener
	if !listens {
		var err error
		if l, err = shmnet.Listen(path, nil); err != nil {
			return err
		}
		s.calls.Go(func() {
			for {
				c, err := l.AcceptConn()
				if err != nil {
					return
				}
				s.calls.Go(func() { s.converse(c) })
			}
		})
	}
	var err error
	for i := 0; i < n && s.lab.Ctx.Err() == nil && err == nil; i++ {
		err = s.round(i, arguments{
			Path: path, Listens: listens, Conns: 1 + s.lab.Rand.IntN(2), Traffic: i % len(traffics),
			Buffer: []int{0, 4 << 10, 64 << 10}[i/len(traffics)%3],
		})
	}
	ended := make(chan struct{})
	if l != nil {
		err = errors.Join(err, l.Close()) // and with it who was connected, and is not accepted
	}
	go func() { s.calls.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(labs.Patience):
		return errors.Join(err, errors.New("a call does not end"))
	}
	return err
}

// round is the life of one victim.
func (s *survivor) round(i int, a arguments) error {
	child, d, err := s.spawn(i, a)
	if err != nil {
		return err
	}
	began := make(chan struct{}, a.Conns)
	ctx, cancel := context.WithCancel(s.lab.Ctx)
	defer cancel()
	if a.Listens {
		for range a.Conns {
			s.calls.Go(func() { s.dial(ctx, child, a, began) })
		}
	} else {
		began <- struct{}{} // it may be killed before it has connected
		time.Sleep(s.chance(2 * most))
	}
	select {
	case <-began:
	case <-time.After(labs.Patience):
		return errors.New("no connection comes about")
	}
	time.Sleep(s.chance(most))
	s.mu.Lock()
	d.killed = time.Now()
	s.deaths[child.PID()] = d
	s.mu.Unlock()
	child.Kill()
	if s.r.Kills++; !child.WasKilled() {
		return fmt.Errorf("victim %d ended by itself: %s", i, child.Stderr())
	}
	return nil
}

// spawn starts a victim that has the one end of a pipe open, and somebody who waits at the other.
func (s *survivor) spawn(i int, a arguments) (*labs.Child, *death, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	child, err := s.lab.Spawn(fmt.Sprint("victim ", i), a, func(c *exec.Cmd) (func(), error) {
		c.ExtraFiles = append(c.ExtraFiles, w)
		return nil, nil
	})
	_ = w.Close()
	d := &death{known: make(chan struct{})}
	s.calls.Go(func() {
		defer close(d.known)
		defer r.Close()
		_, _ = r.Read(make([]byte, 1))
		d.told = time.Now()
	})
	return child, d, err
}

func (s *survivor) chance(limit time.Duration) time.Duration {
	return time.Duration(s.lab.Rand.Int64N(int64(limit)))
}

// dial connects to a victim that listens, or will, unless it is killed before.
func (s *survivor) dial(ctx context.Context, victim *labs.Child, a arguments, began chan<- struct{}) {
	for ctx.Err() == nil {
		c, err := shmnet.Dial(ctx, a.Path, &shmnet.Config{Buffer: a.Buffer})
		if err == nil {
			began <- struct{}{}
			s.converse(c)
			return
		}
		switch {
		case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED), ctx.Err() != nil:
			time.Sleep(100 * time.Microsecond)
		case isCutOff(err):
			s.count("connecting was cut off")
			return
		default:
			s.problem("connecting with victim %d: %v", victim.PID(), err)
			return
		}
	}
}

// isCutOff tells whether connecting failed because the other side has gone in the middle of it.
func isCutOff(err error) bool {
	var hs *shmnet.HandshakeError
	return errors.As(err, &hs) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
}

func (s *survivor) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r.Ends[what]++
}

func (s *survivor) problem(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r.Problem(format, args...)
}

// converse reads and writes until the victim is dead, and judges.
func (s *survivor) converse(c *shmnet.Conn) {
	pid, _, _ := c.Peer()
	t := traffics[3+pid%2]
	began := time.Now()
	var in stream
	var read, written error
	var both sync.WaitGroup
	both.Go(func() { read = t.receive(c, &in) })
	both.Go(func() { written = t.send(c) })
	both.Wait()
	ended := time.Now()
	again, _ := c.Write([]byte("x"))
	if err := c.Close(); err != nil {
		s.problem("close: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.r
	r.Connections++
	r.Bytes += in.at
	d, known := s.deaths[pid]
	switch {
	case !known:
		r.Problem("calls ended before victim %d was killed: %v; %v", pid, read, written)
	case !errors.Is(read, syscall.ECONNRESET) || !errors.Is(read, shmring.ErrPeerDead):
		r.Problem("read of victim %d: %v", pid, read)
	case !errors.Is(written, syscall.EPIPE):
		r.Problem("write to victim %d: %v", pid, written)
	case again != 0:
		r.Problem("write to victim %d after it was dead", pid)
	}
	if known {
		s.note(d, began, ended)
	}
}

// note notes how long after a death the calls of a connection ended, inside mu.
func (s *survivor) note(d *death, began, ended time.Time) {
	<-d.known
	killed, told := d.killed, d.told
	if killed.Before(began) {
		killed = began // it was dead before anybody looked
	}
	r := s.r
	delay := ended.Sub(killed)
	r.delays = append(r.delays, delay)
	r.behind = append(r.behind, max(0, ended.Sub(later(told, began))))
	if delay > lateAfter {
		r.Late++
		if told.Sub(killed) > lateAfter {
			r.LateTold++
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
