package link

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/shmring/shmring/bench/internal/work"
)

// Within a process messages are values of a type of the size in question, as in C++;
// memory is not shared with the sender, which may use its buffer again.
type value interface {
	[8]byte | [32]byte | [48]byte | [64]byte | [248]byte | [1016]byte | [4088]byte
}

// LargestValue is the longest message of transports within a process.
const LargestValue = 4088

var (
	queuesMu sync.Mutex
	queues   = map[string]any{}
)

// shared makes the queue of one direction once.
func shared[Q any](direction string, make func() Q) Q {
	queuesMu.Lock()
	defer queuesMu.Unlock()
	q, ok := queues[direction]
	if !ok {
		q = make()
		queues[direction] = q
	}
	return q.(Q)
}

// valueLink moves values.
type valueLink[T value] struct {
	push func(T)
	pop  func() T
}

func (l valueLink[T]) Send(msg []byte) error {
	l.push(T(msg))
	return nil
}

func (l valueLink[T]) Recv(buf []byte) (int, error) {
	v := l.pop()
	return copy(buf, bytesOf(&v)), nil
}

func (l valueLink[T]) Close() error { return nil }

// bySize picks the type.
func bySize(j *work.Job, eight, thirtytwo, fortyeight, sixtyfour, quarter, one, four func() work.Link) (work.Link,
	error) {
	makers := map[int]func() work.Link{8: eight, 32: thirtytwo, 48: fortyeight, 64: sixtyfour, 248: quarter, 1016: one,
		4088: four}
	if m := makers[j.Size]; m != nil {
		return m(), nil
	}
	return nil, fmt.Errorf("no messages of %d bytes", j.Size)
}

func openChan(j *work.Job, direction string, _ bool) (work.Link, error) {
	return bySize(j, chanOf[[8]byte](j, direction), chanOf[[32]byte](j, direction), chanOf[[48]byte](j, direction),
		chanOf[[64]byte](j, direction),
		chanOf[[248]byte](j, direction), chanOf[[1016]byte](j, direction), chanOf[[4088]byte](j, direction))
}

func chanOf[T value](j *work.Job, direction string) func() work.Link {
	return func() work.Link {
		c := shared(direction, func() chan T { return make(chan T, Slots(j.Size)) })
		return valueLink[T]{func(v T) { c <- v }, func() T { return <-c }}
	}
}

func openSPSC(j *work.Job, direction string, _ bool) (work.Link, error) {
	return bySize(j, spscOf[[8]byte](j, direction), spscOf[[32]byte](j, direction), spscOf[[48]byte](j, direction),
		spscOf[[64]byte](j, direction),
		spscOf[[248]byte](j, direction), spscOf[[1016]byte](j, direction), spscOf[[4088]byte](j, direction))
}

func spscOf[T value](j *work.Job, direction string) func() work.Link {
	return func() work.Link {
		q := shared(direction, func() *xsync.SPSCQueue[T] { return xsync.NewSPSCQueue[T](Slots(j.Size)) })
		return polled(q.TryEnqueue, q.TryDequeue)
	}
}

func openMPMC(j *work.Job, direction string, _ bool) (work.Link, error) {
	return bySize(j, mpmcOf[[8]byte](j, direction), mpmcOf[[32]byte](j, direction), mpmcOf[[48]byte](j, direction),
		mpmcOf[[64]byte](j, direction),
		mpmcOf[[248]byte](j, direction), mpmcOf[[1016]byte](j, direction), mpmcOf[[4088]byte](j, direction))
}

func mpmcOf[T value](j *work.Job, direction string) func() work.Link {
	return func() work.Link {
		q := shared(direction, func() *xsync.MPMCQueue[T] { return xsync.NewMPMCQueue[T](Slots(j.Size)) })
		return polled(q.TryEnqueue, q.TryDequeue)
	}
}

// polls is how often one tries before one lets another goroutine run.
const polls = 4096

func polled[T value](push func(T) bool, pop func() (T, bool)) work.Link {
	return valueLink[T]{
		func(v T) {
			for n := 1; !push(v); n++ {
				rest(n)
			}
		},
		func() T {
			for n := 1; ; n++ {
				if v, ok := pop(); ok {
					return v
				}
				rest(n)
			}
		},
	}
}

func rest(n int) {
	if n%polls == 0 {
		runtime.Gosched()
	}
}
