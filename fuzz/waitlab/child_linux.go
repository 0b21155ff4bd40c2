package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// args tell a child what it is. They travel as JSON in its environment.
type args struct {
	Role   string
	Dir    string
	Ring   string
	Back   string // a second ring
	Way    way
	Kind   shmring.Kind
	Seed   uint64
	Count  int
	Single bool // one processor for Go
	Number int
	Text   string
}

// role is what a child can be. It returns when its work is done; an error ends the
// child with status 1 and is shown by the lab.
type role func(ctx context.Context, a args, lab *line) error

// roles is filled by the modes' files.
var roles = map[string]role{}

// line is a child's connection to the lab.
type line struct {
	mu    sync.Mutex
	words chan string
	steps atomic.Uint64
}

func runChild(text string) error {
	var a args
	if err := labs.BeChild(text, &a); err != nil {
		return err
	}
	lab := &line{words: make(chan string, 16)}
	go lab.listen()
	run := roles[a.Role]
	if run == nil {
		return fmt.Errorf("no role %q", a.Role)
	}
	return run(context.Background(), a, lab)
}

// listen ends a child whose lab is gone.
func (n *line) listen() {
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		n.words <- s.Text()
	}
	os.Exit(3)
}

// recv is the lab's next word.
func (n *line) recv() string { return <-n.words }

// send sends a line to the lab.
func (n *line) send(what string, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Printf("%s %s\n", what, text)
}

// step says that the child gets on; see watched.
func (n *line) step() { n.steps.Add(1) }

// watched ends a child that does not step for as long as labs.Patience, with its goroutines.
func (n *line) watched() {
	go func() {
		last, since := uint64(0), time.Now()
		for range time.Tick(labs.Patience / 10) {
			now := n.steps.Load()
			if now != last {
				last, since = now, time.Now()
			} else if time.Since(since) > labs.Patience {
				fmt.Fprintf(os.Stderr, "stuck: nothing happens after step %d for %v\n", now, labs.Patience)
				_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
				os.Exit(4)
			}
		}
	}()
}

// options open a ring as an ordinary small one.
func (a args) options() *shmring.Options {
	return &shmring.Options{
		Dir:        a.Dir,
		Doorbell:   a.Way.wait,
		Kind:       a.Kind,
		Slots:      8,
		SlotSize:   64,
		WaitPolicy: shmring.WaitSleep,
		KeepStream: true,
	}
}
