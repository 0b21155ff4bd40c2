// Package proxy is the command shmring proxy: it forwards connections between sockets and
// connections over shared memory (package shmnet).
package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	command "github.com/urfave/cli/v3"

	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/shmnet"
)

// Summary is one line about the command.
const Summary = "forward connections between sockets and shared memory"

// Help is that of the command.
const Help = `Usage: shmring proxy [flags] -listen ADDRESS -to ADDRESS

Accepts connections at one address, and makes one to the other for each, so that programs
that know TCP or Unix sockets talk with programs that use package shmnet. An ADDRESS is

  tcp:HOST:PORT    TCP; tcp:localhost:0 listens at any port, and says which
  unix:PATH        a Unix socket
  shm:PATH         connections over shared memory, made at a Unix socket

Each half of a connection is closed when the other side has closed its own; a connection
that breaks off on one side is broken off on the other. It ends with a signal, and
connections with it.

Flags
  -listen ADDRESS    where to accept connections
  -to ADDRESS        where to forward them to
  -allow-uid UIDS    who may be at the other end of shm:, as 1000,1001 (default: the same
                     user, and root)
  -buffer BYTES      of each direction of connections that shm: accepts, as 64K (default 256K)
  -max N             connections at one time; others wait (default 1000)
  -json              print where it listens, or the error, as a JSON object
  -version           print the version

` + cli.ExitCodes + `
Examples
  shmring proxy -listen shm:/run/app/api.sock -to tcp:localhost:8080
  shmring proxy -listen tcp:localhost:9090 -to shm:/run/app/api.sock
  curl http://localhost:9090/
`

// options are what the flags say.
type options struct {
	listen, to string
	max        int
	config     shmnet.Config
	json       bool
}

// Command is the command for people.
func Command(args []string, stdout, stderr io.Writer) *command.Command {
	o := options{max: 1000}
	f := cli.NewFlags("shmring proxy", Summary, Help)
	f.String(&o.listen, "listen")
	f.String(&o.to, "to")
	f.Func("allow-uid", o.setUIDs)
	f.Bytes(&o.config.Buffer, "buffer")
	cli.Int(f, &o.max, "max")
	f.Bool(&o.json, "json")
	return f.Command(func(ctx context.Context, operands []string, err error) int {
		if err != nil {
			o.json = cli.WantsJSON(args)
		} else {
			err = o.check(operands)
		}
		if err == nil {
			err = o.run(ctx, stdout, stderr)
		}
		if err != nil {
			fmt.Fprintf(stderr, "shmring proxy: %s\n", cli.Oneline(err))
			if o.json {
				_ = json.NewEncoder(stdout).Encode(cli.FailureOf(err)) // the exit code tells as well
			}
		}
		return cli.Code(err)
	})
}

func (o *options) setUIDs(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		uid, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return fmt.Errorf("%q: want user numbers, as 1000,1001", text)
		}
		o.config.AllowUIDs = append(o.config.AllowUIDs, int(uid))
	}
	return nil
}

func (o *options) check(operands []string) error {
	for _, a := range []struct{ flag, address string }{{"listen", o.listen}, {"to", o.to}} {
		kind, rest, _ := strings.Cut(a.address, ":")
		if rest == "" || kind != "tcp" && kind != "unix" && kind != "shm" {
			return cli.Usagef("-%s %q: want tcp:HOST:PORT, unix:PATH or shm:PATH", a.flag, a.address)
		}
	}
	switch {
	case len(operands) > 0:
		return cli.Usagef("unexpected argument %q", operands[0])
	case o.max < 1:
		return cli.Usagef("-max %d: want 1 or more", o.max)
	}
	return nil
}

// listener opens where connections are accepted.
func (o *options) listener() (net.Listener, error) {
	kind, rest, _ := strings.Cut(o.listen, ":")
	if kind == "shm" {
		return shmnet.Listen(rest, &o.config)
	}
	return net.Listen(kind, rest)
}

// dial makes the connection that one is forwarded to.
func (o *options) dial(ctx context.Context) (net.Conn, error) {
	kind, rest, _ := strings.Cut(o.to, ":")
	if kind == "shm" {
		return shmnet.Dial(ctx, rest, &o.config)
	}
	return (&net.Dialer{Timeout: shmnet.DefaultTimeout}).DialContext(ctx, kind, rest)
}

// pause is how long one waits where the process has no descriptors left.
const pause = 50 * time.Millisecond

// run forwards until ctx ends.
func (o *options) run(ctx context.Context, stdout, stderr io.Writer) error {
	l, err := o.listener()
	if err != nil {
		return err
	}
	kind, _, _ := strings.Cut(o.listen, ":")
	if err := o.tell(fmt.Sprintf("%s:%v", kind, l.Addr()), stdout); err != nil {
		return errors.Join(err, l.Close())
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var all sync.WaitGroup
	defer all.Wait()
	room := make(chan struct{}, o.max)
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = c.Close()
			}
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			<-room
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			continue
		case err != nil:
			return errors.Join(err, l.Close())
		}
		all.Go(func() {
			defer func() { <-room }()
			if err := o.forward(ctx, c); err != nil && ctx.Err() == nil {
				fmt.Fprintf(stderr, "shmring proxy: %s\n", cli.Oneline(err))
			}
		})
	}
}

// tell says where connections are accepted now.
func (o *options) tell(address string, stdout io.Writer) error {
	if o.json {
		return json.NewEncoder(stdout).Encode(map[string]string{"listen": address, "to": o.to})
	}
	_, err := fmt.Fprintln(stdout, address)
	return err
}

// forward moves bytes between a connection and one that it makes. What goes wrong after that is
// between the two.
func (o *options) forward(ctx context.Context, from net.Conn) error {
	to, err := o.dial(ctx)
	if err != nil {
		abort(from)
		return err
	}
	defer context.AfterFunc(ctx, func() {
		abort(from)
		abort(to)
	})()
	var there error
	done := make(chan struct{})
	go func() {
		defer close(done)
		there = move(to, from)
	}()
	back := move(from, to)
	<-done
	if errors.Join(there, back) == nil {
		_, _ = from.Close(), to.Close()
	}
	return nil
}

// move moves one direction, to its end. After an error both connections are broken off.
func move(to, from net.Conn) error {
	_, err := io.Copy(to, from)
	if err == nil {
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			err = half.CloseWrite()
		}
	}
	if err != nil && !errors.Is(err, syscall.ENOTCONN) { // that: the other side has closed meanwhile
		abort(from)
		abort(to)
		return err
	}
	return nil
}

// abort closes a connection so that the peer, if the kind allows it, does not take that for the end.
func abort(c net.Conn) {
	switch c := c.(type) {
	case *shmnet.Conn:
		_ = c.Abort()
		return
	case *net.TCPConn:
		_ = c.SetLinger(0)
	}
	_ = c.Close()
}
