package tool

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	shmprom "github.com/shmring/shmring/contrib/prometheus"
	"github.com/shmring/shmring/status"
)

const serveHelp = `Usage: shmring serve [flags] [DIR]

Serves what can be seen of the rings of a directory by HTTP, until a signal ends it:

  /          a page with charts that move; it loads nothing from elsewhere
  /rings     all that inspect -json shows, of each ring
  /events    the same again and again, as server-sent events
  /metrics   for Prometheus

It listens on this machine only, unless -listen says otherwise: whoever can connect sees
the names of rings and processes, and can change nothing. Who comes by a name other than
localhost is refused there, as pages of strangers in a browser here might be. Looking takes
no role and no lock, and is felt by nobody. It prints where it listens.
`

const serveFlags = `  -listen ADDRESS
             where to listen (default 127.0.0.1:9187; port 0: any that is free)
`

// serving is what -json prints of a server.
type serving struct {
	URL string `json:"url"`
	Dir string `json:"dir"`
}

const (
	// headPatience is how long one may take to ask, and idlePatience how long a connection may do nothing.
	headPatience = 10 * time.Second
	idlePatience = 2 * time.Minute
	// partPatience is how long requests may go on when a signal has come.
	partPatience = 2 * time.Second
)

// serve is what serve does.
func serve(f *cli.Flags) streaming {
	address := "127.0.0.1:9187"
	f.String(&address, "listen")
	return func(ctx context.Context, args []string, admin *shmring.AdminOptions, asJSON bool, stdout io.Writer) error {
		dir := admin.Dir
		if err := takeDir(&dir, args); err != nil {
			return err
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return cli.Usagef("-listen %s: want an address and a port, as 127.0.0.1:9187", address)
		}
		if _, err := shmring.NewMonitor(&shmring.InspectOptions{Dir: dir}).Look(ctx); err != nil {
			return err
		}
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			return err
		}
		s := serving{"http://" + listener.Addr().String() + "/", where(dir)}
		if err := s.tell(asJSON, stdout); err != nil {
			return errors.Join(err, listener.Close())
		}
		return serveUntil(ctx, listener, page(dir, listener.Addr()))
	}
}

func (s serving) tell(asJSON bool, stdout io.Writer) error {
	if asJSON {
		return json.NewEncoder(stdout).Encode(s)
	}
	_, err := fmt.Fprintf(stdout, "%s shows the rings in %s; %smetrics is for Prometheus\n", s.URL, s.Dir, s.URL)
	return err
}

// page is what is served.
func page(dir string, at net.Addr) http.Handler {
	o := &shmring.InspectOptions{Dir: dir}
	registry := prometheus.NewRegistry()
	registry.MustRegister(shmprom.New(o))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("/", status.New(o))
	if tcp, is := at.(*net.TCPAddr); !is || !tcp.IP.IsLoopback() {
		return mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocal(r.Host) {
			http.Error(w, "this is for localhost only", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// isLocal tells whether a client has asked for localhost, or for an address. A name that leads here is the
// means by which a stranger's page in a browser on this machine would read what is served.
func isLocal(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	return cmp.Or(name, "localhost") == "localhost" || net.ParseIP(name) != nil
}

// serveUntil serves until ctx ends. Nothing of it is left then, and all that is open ends with ctx.
func serveUntil(ctx context.Context, listener net.Listener, h http.Handler) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: headPatience, IdleTimeout: idlePatience,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	parting, stop := context.WithTimeout(context.WithoutCancel(ctx), partPatience)
	defer stop()
	err := server.Shutdown(parting)
	if err != nil {
		err = server.Close() // who reads too slowly is cut off
	}
	<-done
	return err
}
