// Package report is what a run found: the data, what follows from them, and how they
// are shown.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/shmring/shmring/bench/internal/machine"
	"github.com/shmring/shmring/bench/internal/placement"
)

// Version of the JSON. It grows when a field changes its meaning or goes.
// 2: figures of a cell are of the near and of the far placement; verdicts of a target too.
const Version = 2

// Report is one run.
type Report struct {
	Version    int             `json:"version"`
	Begun      string          `json:"begun"`
	Seconds    float64         `json:"seconds"`
	Settings   Settings        `json:"settings"`
	Machine    machine.Machine `json:"machine"`
	Steal      float64         `json:"stolen_share"` // of all processor time, by the host
	Placements Placements      `json:"placements"`
	Absent     []Absent        `json:"absent"`
	Peers      []PeerInfo      `json:"peers,omitempty"`
	Cells      []*Cell         `json:"cells"`
	Targets    []Target        `json:"targets"`
}

// Settings are how the run was asked for.
type Settings struct {
	Quick  bool   `json:"quick"`
	Rounds int    `json:"rounds"`
	Run    string `json:"run,omitempty"`
	Pinned bool   `json:"pinned"`
	Seed   uint64 `json:"seed"`
	Commit string `json:"commit,omitempty"`
}

// Absent is a transport that was not measured.
type Absent struct {
	Transport string `json:"transport"`
	Reason    string `json:"reason"`
	Package   string `json:"package,omitempty"` // of Debian that would help; or several
}

// PeerInfo is what a program of -peers says of itself.
type PeerInfo struct {
	Name  string `json:"name"`
	About string `json:"about"`
	Where string `json:"where"`
}

// Cell is one work by one transport at one size and place.
type Cell struct {
	Work      string `json:"work"` // batch-64 and mpsc-4 are works of their own
	Size      int    `json:"size"`
	Transport string `json:"transport"`
	Group     string `json:"group"`
	Where     string `json:"where"` // processes, threads, goroutines
	Place     string `json:"place"`
	Unit      string `json:"unit"` // of the values; less is better
	// Anywhere tells that it does not matter how far apart the processors are: All has the
	// figures, of every round.
	Anywhere bool `json:"anywhere,omitempty"`

	Rounds  []Round  `json:"rounds"`
	Near    *Figures `json:"near"` // null: no round counts for this placement
	Far     *Figures `json:"far"`
	All     *Figures `json:"all,omitempty"`
	Dropped int      `json:"dropped"` // rounds that count for neither
	// Syscalls by message sent; null: not counted.
	Syscalls *float64 `json:"syscalls_per_message"`
	Error    string   `json:"error,omitempty"`
}

// Figures are what follows from the rounds of one placement.
type Figures struct {
	Samples int     `json:"samples"`
	Median  float64 `json:"median"` // of the rounds' values
	Q1      float64 `json:"q1"`
	Q3      float64 `json:"q3"`
	P50     float64 `json:"p50"` // medians of the rounds' percentiles
	P90     float64 `json:"p90"`
	P99     float64 `json:"p99"`
	P999    float64 `json:"p99_9"`
	Max     float64 `json:"max"` // of all rounds

	MsgsPerS  float64  `json:"msgs_per_s,omitempty"`
	BytesPerS float64  `json:"bytes_per_s,omitempty"`
	CPU       float64  `json:"cpu_s_per_million"` // of all processes, by message sent
	Switches  float64  `json:"switches_per_message"`
	Allocs    *float64 `json:"allocs_per_message"` // of Go; null: not counted
	// Shares is how many messages the busiest sender got through by those of the laziest.
	Shares float64 `json:"shares_max_by_min,omitempty"`
}

// In returns the figures of a placement; nil: there are none.
func (c *Cell) In(p placement.Placement) *Figures {
	switch {
	case c.Anywhere:
		return c.All
	case p == placement.Near:
		return c.Near
	case p == placement.Far:
		return c.Far
	}
	return nil
}

// Round is one measurement of a cell.
type Round struct {
	Round     int                 `json:"round"`
	Probe     [2]float64          `json:"probe"`     // before and after, nanoseconds per round trip of a line
	Placement placement.Placement `json:"placement"` // that it counts for; empty: dropped
	// Value is nanoseconds per message, or per trip: of trips the median of the means of blocks.
	Value    float64 `json:"value"`
	P50      float64 `json:"p50"`
	P90      float64 `json:"p90"`
	P99      float64 `json:"p99"`
	P999     float64 `json:"p99_9"`
	Max      float64 `json:"max"`
	Messages uint64  `json:"messages"`
	Bytes    float64 `json:"bytes_per_message,omitempty"`
	CPU      float64 `json:"cpu_s_per_million"`
	Switches float64 `json:"switches_per_message"`
	Allocs   float64 `json:"allocs_per_message"`
	Shares   float64 `json:"shares_max_by_min,omitempty"`
}

// Key names a cell.
type Key struct {
	Work      string
	Size      int
	Transport string
	Place     string
}

func (k Key) String() string {
	return fmt.Sprintf("%s/%d/%s/%s", k.Work, k.Size, k.Transport, k.Place)
}

func (c *Cell) Key() Key { return Key{c.Work, c.Size, c.Transport, c.Place} }

// Find returns a cell that was measured, in whichever placement, or nil.
func (r *Report) Find(work string, size int, transport, place string) *Cell {
	k := Key{work, size, transport, place}
	for _, c := range r.Cells {
		if c.Key() == k && len(c.Rounds) > 0 {
			return c
		}
	}
	return nil
}

// Write puts the report into a file, all of it or nothing.
func (r *Report) Write(path string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return writeFile(path, append(data, '\n'))
}

func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// Read is the reverse of Write.
func Read(path string) (*Report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if r.Version != Version {
		return nil, fmt.Errorf("%s: a report of version %d, want %d: measure again with this program", path, r.Version,
			Version)
	}
	return &r, nil
}

// works returns what was measured, in the order of the cells.
func (r *Report) works() []string {
	var list []string
	for _, c := range r.Cells {
		if !slices.Contains(list, c.Work) {
			list = append(list, c.Work)
		}
	}
	return list
}
