package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// arguments tell the victim what it is.
type arguments struct {
	Dir, Report string
	Rounds      int
	Always      bool // the attack leaves less of the file, whatever the victim does
}

// report is what the victim tells.
type report struct {
	Rounds       int            `json:"rounds"`
	Ends         map[string]int `json:"ends"` // of calls that ended with an error, by what it was
	LongestClose int64          `json:"longest_close_us"`
	Longest      int            `json:"longest_close_in"` // of which ring
	Wrong        []string       `json:"wrong,omitempty"`

	mu sync.Mutex
}

// attacked is the name of the ring that is attacked, and healthy that of the other.
const attacked, healthy = "attacked", "healthy"

func victim(text string) error {
	var a arguments
	if err := labs.BeChild(text, &a); err != nil {
		return err
	}
	r := &report{Ends: map[string]int{}}
	if err := r.rounds(a); err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(a.Report, data, 0o600)
}

func (r *report) rounds(a arguments) error {
	o := &shmring.Options{Dir: a.Dir}
	ctx := context.Background()
	p, err := shmring.OpenProducer(ctx, healthy, o)
	if err != nil {
		return err
	}
	c, err := shmring.OpenConsumer(ctx, healthy, o)
	if err != nil {
		return err
	}
	files := 0
	for ; r.Rounds < a.Rounds && len(r.Wrong) < labs.MaxProblems; r.Rounds++ {
		if err := r.round(a, r.Rounds); err != nil {
			return fmt.Errorf("ring %d: %w", r.Rounds, err)
		}
		want, got := fmt.Append(nil, r.Rounds), make([]byte, 32)
		if err := p.Send(ctx, want); err != nil {
			return fmt.Errorf("the healthy ring: %w", err)
		}
		n, err := c.Receive(ctx, got)
		if err != nil || !bytes.Equal(got[:n], want) {
			return fmt.Errorf("the healthy ring: %q, want %q: %w", got[:n], want, err)
		}
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return err
		}
		switch {
		case r.Rounds == cases: // each has been there once
			files = len(open)
		case r.Rounds > cases && len(open) > files:
			return fmt.Errorf("%d descriptors are open, %d were", len(open), files)
		}
	}
	return errors.Join(p.Close(), c.Close(), shmring.Remove(ctx, healthy, &shmring.AdminOptions{Dir: a.Dir}))
}

// end counts how a call ended.
func (r *report) end(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var truncated *shmring.TruncatedError
	var corrupt *shmring.CorruptError
	switch {
	case errors.As(err, &truncated):
		what = "TruncatedError"
	case errors.As(err, &corrupt):
		what = "CorruptError: " + corrupt.Field
	case errors.Is(err, shmring.ErrCorrupt):
		what = "changed"
	case errors.Is(err, shmring.ErrClosed):
		what = "closed"
	case errors.Is(err, context.DeadlineExceeded):
		what = "deadline"
	case errors.Is(err, shmring.ErrPeerDead), errors.Is(err, shmring.ErrFailed), err == io.EOF:
		what = "end of a stream" // its producer had closed; whether it could say so depends on what is left of the file
	default:
		r.Wrong = append(r.Wrong, fmt.Sprintf("%s: %v", what, err))
		return
	}
	r.Ends[what]++
}

func (r *report) wrong(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
}
