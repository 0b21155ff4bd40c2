package shmring

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"sync"

	"github.com/shmring/shmring/shm"
)

// Monitor looks at all rings of a directory again and again, and remembers of each what an [Inspector]
// does. Like that one it is felt by nobody. It holds no descriptor and no goroutine between two looks, so
// there is nothing to close. Any number of goroutines may use one.
//
// It is an expvar.Var: expvar.Publish("shmring", shmring.NewMonitor(nil)) shows all rings among the
// variables of a process, and package shmring need not import what it takes to serve them.
type Monitor struct {
	dir   string
	mu    sync.Mutex
	rings map[string]*Inspector
}

// NewMonitor makes one. Of the options Dir matters. Nothing is touched.
func NewMonitor(o *InspectOptions) *Monitor { return &Monitor{dir: o.orDefault().Dir} }

// Look looks at each ring once more: what it says to have lasted, was so at each look since. Rings
// come by name, as from [List], and so do the errors.
func (m *Monitor) Look(ctx context.Context) ([]Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, err := shm.Segments(m.dir)
	if err != nil {
		return nil, err
	}
	list := []Snapshot{}
	rings := map[string]*Inspector{}
	around := lookAround()
	for _, f := range found {
		if err := contextEnded(ctx, f.Name, "inspect"); err != nil {
			return nil, err
		}
		in := m.rings[f.Name]
		if in == nil {
			in = &Inspector{name: f.Name, path: f.Path}
		}
		s, err := in.look(around)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just been removed
		}
		if err != nil {
			return nil, err
		}
		rings[f.Name] = in
		list = append(list, s)
	}
	m.rings = rings
	return list, nil
}

// String looks, and returns what it sees as JSON: a list of snapshots, or an object with the
// error.
func (m *Monitor) String() string {
	var seen any
	seen, err := m.Look(context.Background())
	if err != nil {
		seen = struct {
			Error string `json:"error"`
		}{err.Error()}
	}
	text, err := json.Marshal(seen)
	if err != nil {
		return "null" // cannot be: all of it can be marshalled
	}
	return string(text)
}
