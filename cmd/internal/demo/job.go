package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/load"
	"github.com/shmring/shmring/cmd/internal/pin"
)

// ChildCommand is the subcommand that runs one job.
const ChildCommand = "demo-child"

// job is what one process does.
type job struct {
	Role      string        `json:"role"` // a key of roles
	Dir       string        `json:"dir"`
	Ring      string        `json:"ring"`
	Back      string        `json:"back,omitempty"` // the ring for the way back
	Kind      shmring.Kind  `json:"kind"`
	Size      int           `json:"size"`
	Producers int           `json:"producers,omitempty"`
	For       time.Duration `json:"for"`     // how long to send
	CPU       int           `json:"cpu"`     // -1: any
	Asleep    bool          `json:"asleep"`  // sleep at once rather than spin first
	Timeout   time.Duration `json:"timeout"` // of all of it
}

// result is what came of it.
type result struct {
	Messages     uint64       `json:"messages"` // sent, verified or measured
	NsPerMessage float64      `json:"ns_per_message,omitempty"`
	Verify       *load.Report `json:"verify,omitempty"`
	Trips        *trips       `json:"trips,omitempty"`
}

var roles = map[string]func(context.Context, *job) (*result, error){
	"stream":      stream,
	"count":       count,
	"stream-load": streamLoad,
	"verify":      verify,
	"ping":        ping,
	"echo":        echo,
}

// RunChild is the hidden subcommand.
func RunChild(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		io.Copy(io.Discard, stdin)
		cancel(errors.New("the process that started this one has gone"))
	}()
	err := runJob(ctx, args, stdout)
	if err != nil {
		fmt.Fprintln(stderr, cli.Oneline(err))
	}
	return cli.Code(err)
}

func runJob(ctx context.Context, args []string, stdout io.Writer) error {
	var j job
	if len(args) != 1 {
		return cli.Usagef("%s is for shmring demo", ChildCommand)
	}
	if err := json.Unmarshal([]byte(args[0]), &j); err != nil {
		return cli.Usagef("%s: %v", ChildCommand, err)
	}
	role, ok := roles[j.Role]
	if !ok {
		return cli.Usagef("%s: unknown role %q", ChildCommand, j.Role)
	}
	if j.CPU >= 0 {
		if err := pin.Thread(j.CPU); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, j.Timeout)
	defer cancel()
	r, err := role(ctx, &j)
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(r)
}

// options are the same for all who open a ring, so it does not matter who creates it.
func (j *job) options() *shmring.Options {
	o := &shmring.Options{Dir: j.Dir, Mode: shmring.OpenOrCreate, Kind: j.Kind, Prefault: true}
	if j.Asleep {
		o.SpinFor = -1
	}
	return o
}
