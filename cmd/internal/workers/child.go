package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/internal/pin"
)

// Child makes the hidden subcommand that runs one job: J is a struct that embeds
// [Job], and its Role is a key of roles.
func Child[J, R any](name string, roles map[string]func(context.Context, *J) (*R, error)) cli.Program {
	return func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
		ctx, cancel := context.WithCancelCause(ctx)
		go func() {
			io.Copy(io.Discard, stdin)
			cancel(errors.New("the process that started this one has gone"))
		}()
		err := runJob(ctx, name, roles, args, stdout)
		if err != nil {
			fmt.Fprintln(stderr, cli.Oneline(err))
		}
		return cli.Code(err)
	}
}

func runJob[J, R any](ctx context.Context, name string, roles map[string]func(context.Context, *J) (*R, error),
	args []string, stdout io.Writer) error {
	var base Job
	var j J
	if len(args) != 1 {
		return cli.Usagef("%s is for shmring's own use", name)
	}
	if err := errors.Join(json.Unmarshal([]byte(args[0]), &base), json.Unmarshal([]byte(args[0]), &j)); err != nil {
		return cli.Usagef("%s: %v", name, err)
	}
	role, ok := roles[base.Role]
	if !ok {
		return cli.Usagef("%s: unknown role %q", name, base.Role)
	}
	if base.CPU >= 0 {
		if err := pin.Thread(base.CPU); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, base.Timeout)
	defer cancel()
	r, err := role(ctx, &j)
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(r)
}
