// Package embed runs a NATS server with JetStream inside this process, for trying a relay, for
// tests, and for machines that have no other. Who imports package relay alone does not get it.
package embed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Options of a server. The zero value listens on a free port of the loopback interface.
type Options struct {
	// Listen is host:port. Empty: 127.0.0.1, and a port that is free.
	Listen string
	// MaxPayload is how long one NATS message may be. Zero: the server's default, 1 MiB.
	MaxPayload int32
	// MaxStore bounds what JetStream may take of the disk, in bytes. Zero: three quarters of
	// what is free, which is the server's default.
	MaxStore int64
	// Name and Cluster make the server a node of a cluster: a name for each node, the address that
	// the others reach it by, and the routes to them. Empty: a server of its own.
	Name    string
	Cluster string
	Routes  []string
	// User and Password are what clients have to give, if they are not empty.
	User, Password string
}

// Server is a NATS server in this process.
type Server struct{ s *server.Server }

// readyWithin is how long a server may take to begin to listen: it reads its store first.
const readyWithin = time.Minute

// Start starts a server that keeps its streams in dir, and waits until it takes connections. A
// process that is killed leaves a store that the next server takes up. Errors: what the server says;
// that of ctx.
func Start(ctx context.Context, dir string, o *Options) (*Server, error) {
	if o == nil {
		o = &Options{}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("relay: store of the server: %w", err)
	}
	opts := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir,
		JetStreamMaxStore: o.MaxStore, MaxPayload: o.MaxPayload, ServerName: o.Name,
		Username: o.User, Password: o.Password,
	}
	if o.Listen != "" {
		var err error
		if opts.Host, opts.Port, err = hostPort(o.Listen); err != nil {
			return nil, err
		}
	}
	if o.Cluster != "" {
		host, port, err := hostPort(o.Cluster)
		if err != nil {
			return nil, err
		}
		opts.Cluster = server.ClusterOpts{Name: "relay", Host: host, Port: port, NoAdvertise: true}
		for _, r := range o.Routes {
			opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: r})
		}
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("relay: server: %w", err)
	}
	s.Start()
	for begin := time.Now(); !s.ReadyForConnections(100 * time.Millisecond); {
		why := ctx.Err()
		switch {
		case why != nil:
		case !s.Running():
			why = errors.New("it has stopped by itself")
		case time.Since(begin) > readyWithin:
			why = fmt.Errorf("it does not take connections at port %d within %v", opts.Port, readyWithin)
		default:
			continue
		}
		s.Shutdown()
		return nil, fmt.Errorf("relay: the server in %s did not start: %w: is its port taken, or its store in use?", dir, why)
	}
	return &Server{s}, nil
}

func hostPort(at string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(at)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil {
		return "", 0, fmt.Errorf("relay: address %q: want HOST:PORT: %w", at, err)
	}
	return host, port, nil
}

// URL is where clients reach it.
func (s *Server) URL() string { return s.s.ClientURL() }

// Connect returns a connection to it that needs no network.
func (s *Server) Connect(o ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(s.URL(), append([]nats.Option{nats.InProcessServer(s.s)}, o...)...)
}

// Close stops the server and waits until its store is written.
func (s *Server) Close() {
	s.s.Shutdown()
	s.s.WaitForShutdown()
}
