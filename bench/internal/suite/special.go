package suite

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/bench/internal/work"
)

// Specials are jobs about memory. Each returns one number.
var Specials = map[string]work.Special{
	"resident": resident,
	"attach":   attach,
	"create":   create,
}

// resident is how much more memory than the segment a process with both ends of a ring
// has in use.
func resident(j *work.Job) ([]float64, error) {
	ctx := context.Background()
	before, err := rss()
	if err != nil {
		return nil, err
	}
	o := &shmring.Options{Dir: j.Dir, Mode: shmring.ModeOpenOrCreate, Prefault: true}
	p, err := shmring.OpenProducer(ctx, "r", o)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	c, err := shmring.OpenConsumer(ctx, "r", o)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	msg := make([]byte, 1016)
	for range 100000 {
		if err := p.Send(ctx, msg); err != nil {
			return nil, err
		}
		if _, err := c.Receive(ctx, msg); err != nil {
			return nil, err
		}
	}
	after, err := rss()
	// Each handle maps the segment, and pages count where they are mapped.
	return []float64{float64(after - before - 2*p.Info().Size)}, err
}

// rss is what is resident, in bytes.
func rss() (int64, error) {
	runtime.GC()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no VmRSS")
}

// attach is how long a process takes to open a ring that exists.
func attach(j *work.Job) ([]float64, error) {
	ctx := context.Background()
	p, err := shmring.OpenProducer(ctx, "r", &shmring.Options{Dir: j.Dir})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	begin := time.Now()
	c, err := shmring.OpenConsumer(ctx, "r", &shmring.Options{Dir: j.Dir})
	if err != nil {
		return nil, err
	}
	d := time.Since(begin)
	return []float64{float64(d)}, c.Close()
}

// create is how long a ring of 64 MiB takes to be there.
func create(j *work.Job) ([]float64, error) {
	o := &shmring.Options{Dir: j.Dir, Mode: shmring.ModeCreateOnly, Slots: 1 << 17, SlotSize: 448}
	if n, err := o.Size(); err != nil || n < 64<<20 {
		return nil, fmt.Errorf("a ring of %d bytes, want 64 MiB: %v", n, err)
	}
	begin := time.Now()
	p, err := shmring.OpenProducer(context.Background(), "r", o)
	if err != nil {
		return nil, err
	}
	d := time.Since(begin)
	return []float64{float64(d)}, p.Close()
}
