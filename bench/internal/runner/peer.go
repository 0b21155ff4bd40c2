package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/shmring/shmring/bench/internal/work"
)

// Peers are programs of others that speak the protocol of PEERS.md.

const (
	// peerPatience is how much longer than its measurement a peer may take, from its start
	// to its end.
	peerPatience = 5 * time.Second
	// describePatience is how long it may take to say what it does.
	describePatience = 5 * time.Second
)

// description is what a peer says of itself.
type description struct {
	About string   `json:"about"`
	Where string   `json:"where"`
	Works []string `json:"works"`
	Min   int      `json:"min"`
	Max   int      `json:"max"`
}

// peerWorks are those that a peer may do.
var peerWorks = []string{"rtt", "stream"}

// BadPeer is a file of the folder that cannot be measured.
type BadPeer struct {
	Name   string // of the transport it would have been
	Reason string
}

// Peers returns the executables of a folder as transports, by name, and what is there that
// is none. Files that begin with a dot are passed over. The error is about the folder.
func Peers(ctx context.Context, dir string) (good []*Transport, bad []BadPeer, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("-peers: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		t := &Transport{Name: "peer-" + e.Name(), Group: Peer, Path: filepath.Join(dir, e.Name())}
		if err := t.introduce(ctx); ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		} else if err != nil {
			bad = append(bad, BadPeer{t.Name, err.Error()})
			continue
		}
		good = append(good, t)
	}
	return good, bad, nil
}

// introduce asks a peer what it does.
func (t *Transport) introduce(ctx context.Context) error {
	info, err := os.Stat(t.Path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return errors.New("is a folder, not a program")
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("is not executable: chmod +x %s", t.Path)
	}
	ctx, cancel := context.WithTimeout(ctx, describePatience)
	defer cancel()
	a := &worker{job: &work.Job{Role: "describe", Timeout: describePatience, Peer: true}}
	a.cmd = exec.CommandContext(ctx, t.Path, "describe")
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	a.cmd.Cancel, a.cmd.WaitDelay = a.kill, time.Second
	a.cmd.Stderr = &a.stderr
	var said beginning
	a.cmd.Stdout = &said
	if err := a.cmd.Start(); err != nil {
		return fmt.Errorf("cannot be run: %w", err)
	}
	err = a.cmd.Wait()
	_ = a.kill()
	if err != nil {
		if ctx.Err() != nil {
			return &HangError{"describe", describePatience}
		}
		return fmt.Errorf("describe: %w %s", err, strings.TrimSpace(a.stderr.String()))
	}
	var d description
	if err := json.Unmarshal(said.Bytes(), &d); err != nil {
		return fmt.Errorf("describe said %.80q, want JSON as in PEERS.md: %w", said.String(), err)
	}
	return t.become(d)
}

// become takes over what a peer says of itself.
func (t *Transport) become(d description) error {
	for _, w := range d.Works {
		if !slices.Contains(peerWorks, w) {
			return fmt.Errorf("describe: no work %q, there are %s", w, strings.Join(peerWorks, ", "))
		}
	}
	where := map[string]string{"": Processes, Processes: Processes, Threads: Threads}[d.Where]
	switch {
	case len(d.Works) == 0:
		return errors.New("describe: no works")
	case where == "":
		return fmt.Errorf("describe: where is %q, want %s or %s", d.Where, Processes, Threads)
	case d.Min < 0 || d.Max < max(d.Min, 8):
		return fmt.Errorf("describe: sizes from %d to %d; a message has at least 8 bytes", d.Min, d.Max)
	}
	t.About, t.Where, t.Works, t.Min, t.Max = d.About, where, d.Works, d.Min, d.Max
	return nil
}

// checkPeer looks at the results of a peer's worker: what is wrong there would be a wrong
// figure in the report.
func checkPeer(j *work.Job, list []work.Result) error {
	roles := []string{j.Role}
	if j.Role == "all" {
		roles = []string{"recv", "send"}
		if j.Trips() {
			roles = []string{"echo", "ping"}
		}
	}
	if len(list) != len(roles) {
		return fmt.Errorf("%d results, want %d", len(list), len(roles))
	}
	for i := range list {
		r := &list[i]
		if roles[i] == "recv" || roles[i] == "ping" { // they measure
			switch {
			case r.WindowNs <= 0 || r.WindowMessages == 0:
				return fmt.Errorf("%d messages in %d ns were measured", r.WindowMessages, r.WindowNs)
			case r.WindowMessages > r.Messages:
				return fmt.Errorf("%d messages were measured, of %d in all", r.WindowMessages, r.Messages)
			case r.WindowNs > int64(j.Timeout):
				return fmt.Errorf("%d ns were measured, more than the worker has lived", r.WindowNs)
			}
		} else { // whatever they say, it is no figure
			r.WindowNs, r.WindowMessages = 0, 0
		}
		for _, t := range slices.Concat(r.Times, r.BlockTimes) {
			if t[0] < 0 || t[1] < 0 || t[1] > math.MaxInt32 {
				return fmt.Errorf("a time of %d ns, %d times", t[0], t[1])
			}
		}
		if r.Per < 0 || r.Block < 0 || len(r.BlockTimes) > 0 && r.Block == 0 || r.CPUNs < 0 || r.Switches < 0 {
			return errors.New("negative counts, or blocks of none")
		}
		r.WindowBytes = r.WindowMessages * uint64(j.Size)
	}
	return nil
}

// delivered tells whether a peer's receiver got what its sender sent: a figure of messages
// that were lost is none.
func delivered(results []work.Result) error {
	if len(results) < 2 {
		return io.ErrUnexpectedEOF
	}
	if sent, got := results[1].Messages, results[0].Messages; sent != got {
		return fmt.Errorf("%d messages were sent, and %d arrived", sent, got)
	}
	return nil
}
