package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/relay"
	"github.com/shmring/shmring/relay/embed"
)

// config is what the command line says.
type config struct {
	what string // "out" or "in"
	out  cli.Out
	ring cli.Ring

	url, creds, user, passwordFile string
	ca, cert, key                  string
	metrics                        string
	embedDir, listen               string
	o                              relay.OutOptions
	i                              relay.InOptions
	create                         jetstream.StreamConfig
	maxBytes                       int
}

// Run is the program.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	f := cli.NewFlags("shmring relay", summary, Help)
	root := f.Command(func(_ context.Context, operands []string, usage error) int {
		switch {
		case usage != nil:
			fmt.Fprintf(stderr, "shmring relay: %s\n", cli.Oneline(usage))
		case len(operands) == 0:
			fmt.Fprint(stderr, Help)
		default:
			fmt.Fprintf(stderr, "shmring relay: unknown command %q: want out or in\n", operands[0])
		}
		return cli.Usage
	})
	root.HideHelpCommand = false
	for _, what := range []string{"out", "in"} {
		c := &config{what: what, out: cli.Out{Name: "shmring relay " + what, W: stderr}}
		f := c.flags()
		root.Commands = append(root.Commands, f.Command(func(ctx context.Context, operands []string, usage error) int {
			if usage == nil {
				usage = c.check(f, operands)
			}
			if usage != nil {
				c.out.JSON = cli.WantsJSON(args)
				return c.finish(counts{}, usage)
			}
			return c.finish(c.run(ctx))
		}))
	}
	return cli.Execute(ctx, root, args, stdout, stderr)
}

// helps are the texts of the two commands.
func helps(what string) (short, text string) {
	ring := cli.RingHelp[:strings.Index(cli.RingHelp, cli.UnixHelp)]
	ring = strings.NewReplacer("then sleep (default)", "then sleep",
		"take no thread for it", "take no thread for it (default)").Replace(ring)
	if what == "out" {
		return outSummary, outHelp + bothHelp + outOwn + ring + cli.OutHelp + cli.RingNote + exitHelp + `
Examples
  shmring relay out -ring orders
  shmring relay out -ring orders -nats nats://hub:4222 -replicas 3 -creds app.creds
`
	}
	return inSummary, inHelp + bothHelp + inOwn + ring + cli.OutHelp + cli.RingNote + exitHelp + `
Examples
  shmring relay in -ring copy -stream orders
  shmring relay in -ring all -kind mpsc -stream orders -nats nats://hub:4222
`
}

func (c *config) flags() *cli.Flags {
	short, text := helps(c.what)
	f := cli.NewFlags("shmring relay "+c.what, short, text)
	c.out.Register(f)
	c.ring.Register(f)
	common := &c.i.Common
	if c.what == "out" {
		common = &c.o.Common
	}
	for name, p := range map[string]*string{
		"nats": &c.url, "creds": &c.creds, "user": &c.user, "password-file": &c.passwordFile,
		"tls-ca": &c.ca, "tls-cert": &c.cert, "tls-key": &c.key, "stream": &common.Stream,
		"mark-dir": &common.MarkDir, "metrics": &c.metrics} {
		f.String(p, name)
	}
	cli.Int(f, &common.InFlight, "in-flight")
	f.Duration(&common.Patience, "patience")
	if c.what == "in" {
		f.String(&c.i.Durable, "durable")
		f.Bool(&c.i.SkipGaps, "skip-gaps")
		f.Bool(&c.i.Origin, "with-origin")
		f.Bool(&c.i.UntilEnd, "until-end")
		cli.Choose(f, &c.i.Uncertain, "uncertain", []cli.Choice[relay.Uncertain]{
			{Word: "fail", Value: relay.UncertainFail}, {Word: "send", Value: relay.UncertainSend},
			{Word: "skip", Value: relay.UncertainSkip}})
		return f
	}
	c.create.Discard = jetstream.DiscardNew
	for name, p := range map[string]*string{"subject": &c.o.Subject, "origin": &c.o.Origin, "embed": &c.embedDir,
		"listen": &c.listen} {
		f.String(p, name)
	}
	cli.Choose(f, &c.create.Retention, "retention", []cli.Choice[jetstream.RetentionPolicy]{
		{Word: "limits", Value: jetstream.LimitsPolicy}, {Word: "interest", Value: jetstream.InterestPolicy},
		{Word: "workqueue", Value: jetstream.WorkQueuePolicy}})
	cli.Choose(f, &c.create.Discard, "discard", []cli.Choice[jetstream.DiscardPolicy]{
		{Word: "new", Value: jetstream.DiscardNew}, {Word: "old", Value: jetstream.DiscardOld}})
	cli.Int(f, &c.create.Replicas, "replicas")
	f.Bytes(&c.maxBytes, "max-bytes")
	f.Duration(&c.create.MaxAge, "max-age")
	f.Bool(&c.o.NoCreate, "no-create")
	cli.Int(f, &c.o.Batch, "batch")
	f.Bool(&c.o.Pack, "pack")
	f.Bool(&c.o.MessageIDs, "message-ids")
	f.Bool(&c.o.Resend, "resend")
	f.Bool(&c.o.UntilEnd, "until-end")
	return f
}

// check finds what cannot be before anything is touched.
func (c *config) check(f *cli.Flags, operands []string) error {
	common := &c.i.Common
	if c.what == "out" {
		common = &c.o.Common
	}
	switch {
	case len(operands) > 0:
		return cli.Usagef("%q: want flags only", operands[0])
	case c.ring.Unix != "":
		return cli.Usagef("-unix: a relay wants a ring with a name")
	case c.what == "in" && common.Stream == "":
		return cli.Usagef(
			"no stream named: give -stream NAME, the ring's name on the other side unless that was told another",
		)
	case c.url != "" && (f.IsSet("embed") || f.IsSet("listen")):
		return cli.Usagef("-nats is another's server, -embed and -listen are about one of our own: give one or the other")
	case c.what == "out" && c.url == "" && c.o.UntilEnd:
		return cli.Usagef(
			"-until-end would end our own server too, with what nobody has read yet: use one that stays (-nats)",
		)
	case (c.user == "") != (c.passwordFile == ""):
		return cli.Usagef("-user and -password-file belong together")
	case (c.cert == "") != (c.key == ""):
		return cli.Usagef("-tls-cert and -tls-key belong together")
	case common.InFlight < 0 || c.o.Batch < 0 || common.Patience < 0 || c.create.Replicas < 0:
		return cli.Usagef("-in-flight, -batch, -replicas and -patience are above 0")
	}
	if err := c.ring.Check(f); err != nil {
		return err
	}
	common.Ring = c.ring.Options
	if f.IsSet("wait") && common.Ring.WaitPolicy == shmring.WaitBalanced && common.Ring.SpinFor == 0 {
		common.Ring.SpinFor = shmring.DefaultSpinFor // else it is what a relay does by default
	}
	common.OnTrouble = c.trouble
	c.create.MaxBytes = int64(c.maxBytes)
	c.o.Create = &c.create
	return nil
}

// trouble tells of what is waited for, and when that is over.
func (c *config) trouble(err error) {
	if err != nil {
		c.out.Remark("%s; waiting", cli.Oneline(err))
		return
	}
	c.out.Remark("going on")
}

// counts are what a relay has counted.
type counts struct {
	Out *relay.OutStats `json:"out,omitempty"`
	In  *relay.InStats  `json:"in,omitempty"`
}

// relaying is a relay of either kind.
type relaying interface{ Run(context.Context) error }

func (c *config) run(ctx context.Context) (counts, error) {
	nc, closeServer, err := c.connect(ctx)
	if err != nil {
		return counts{}, err
	}
	defer closeServer()
	defer nc.Close()
	var r relaying
	var look func() counts
	if c.what == "out" {
		out, err := relay.NewOut(nc, c.ring.Name, &c.o)
		if err != nil {
			return counts{}, err
		}
		r, look = out, func() counts { s := out.Stats(); return counts{Out: &s} }
	} else {
		in, err := relay.NewIn(nc, c.ring.Name, &c.i)
		if err != nil {
			return counts{}, err
		}
		r, look = in, func() counts { s := in.Stats(); return counts{In: &s} }
	}
	if c.metrics != "" {
		stop, err := serveMetrics(c.metrics, c.ring.Name, look)
		if err != nil {
			return counts{}, err
		}
		defer stop()
	}
	defer c.progress(look)()
	err = r.Run(ctx)
	return look(), err
}

// connectWithin is how long a first connection may take: later ones are waited for.
const connectWithin = 5 * time.Second

// connect connects to the server, or runs one.
func (c *config) connect(ctx context.Context) (nc *nats.Conn, closeServer func(), err error) {
	o := []nats.Option{nats.Name(c.out.Name), nats.MaxReconnects(-1), nats.ReconnectWait(200 * time.Millisecond),
		nats.Timeout(connectWithin), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}
	if c.creds != "" {
		o = append(o, nats.UserCredentials(c.creds))
	}
	if c.user != "" {
		password, err := os.ReadFile(c.passwordFile)
		if err != nil {
			return nil, nil, err
		}
		o = append(o, nats.UserInfo(c.user, strings.TrimRight(string(password), "\r\n")))
	}
	if c.ca != "" {
		o = append(o, nats.RootCAs(c.ca))
	}
	if c.cert != "" {
		o = append(o, nats.ClientCert(c.cert, c.key))
	}
	url := c.url
	closeServer = func() {}
	switch {
	case url == "" && c.what == "out":
		s, err := c.embedded(ctx)
		if err != nil {
			return nil, nil, err
		}
		url, closeServer = s.URL(), s.Close
		c.out.Remark("server at %s: relay in -nats %s on this host", url, url)
	case url == "":
		url = defaultURL
	}
	if nc, err = nats.Connect(url, o...); err != nil {
		closeServer()
		return nil, nil, &relay.ServerError{Op: "connect to " + url, Err: err}
	}
	return nc, closeServer, nil
}

const (
	defaultListen = "127.0.0.1:4222"
	defaultURL    = "nats://" + defaultListen
)

func (c *config) embedded(ctx context.Context) (*embed.Server, error) {
	if c.embedDir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		c.embedDir = filepath.Join(cache, "shmring-relay")
	}
	if c.listen == "" {
		c.listen = defaultListen
	}
	l, err := net.Listen("tcp", c.listen) // the server itself would only wait
	if err != nil {
		return nil, fmt.Errorf("%w: give -listen another address, or use the server that is there (-nats)", err)
	}
	if err := l.Close(); err != nil {
		return nil, err
	}
	return embed.Start(ctx, c.embedDir, &embed.Options{Listen: c.listen})
}

// report is what -json ends with.
type report struct {
	Program string `json:"program"`
	Ring    string `json:"ring"`
	counts
	Error    string `json:"error,omitempty"`
	ExitCode int    `json:"exit_code"`
}

// streamChanged is the exit code for a stream that is not what it was.
const streamChanged = 10

func code(err error) int {
	for _, e := range []error{relay.ErrGap, relay.ErrRewound, relay.ErrWriter, relay.ErrPositionLost, relay.ErrReplaced,
		relay.ErrUncertain, relay.ErrWire} {
		if errors.Is(err, e) {
			return streamChanged
		}
	}
	if errors.Is(err, relay.ErrServer) {
		return cli.TimedOut
	}
	return cli.Code(err)
}

func (c *config) finish(n counts, err error) int {
	r := report{Program: c.out.Name, Ring: c.ring.Name, counts: n, ExitCode: code(err)}
	if err != nil {
		r.Error = strings.TrimPrefix(cli.Oneline(err), "relay: ")
	}
	if c.out.JSON {
		if e := json.NewEncoder(c.out.W).Encode(r); e != nil {
			return max(r.ExitCode, cli.Failed)
		}
		return r.ExitCode
	}
	switch {
	case n.Out != nil:
		c.out.Remark(
			"%d messages, %s stored; %d came again; the stream is at %d",
			n.Out.Messages,
			cli.Size(float64(n.Out.Bytes)),
			n.Out.Skipped,
			n.Out.Sequence,
		)
	case n.In != nil:
		c.out.Remark(
			"%d messages, %s sent; %d came again; read to %d",
			n.In.Messages,
			cli.Size(float64(n.In.Bytes)),
			n.In.Again,
			n.In.Sequence,
		)
	}
	if err != nil {
		c.out.Notice("%s", r.Error)
	}
	return r.ExitCode
}

// progress shows on a terminal how it goes, until stop is called.
func (c *config) progress(look func() counts) (stop func()) {
	if c.out.Quiet || c.out.JSON || !cli.Terminal(c.out.W) {
		return func() {}
	}
	line, ended, done := cli.NewLine(c.out.W), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		var before uint64
		for {
			select {
			case <-ended:
				line.Clear()
				return
			case <-tick.C:
				n := look()
				messages, sequence := n.totals()
				line.Show(
					fmt.Sprintf("%s messages/s, %d in all, the stream is at %d", cli.Short(float64(messages-before)), messages,
						sequence),
				)
				before = messages
			}
		}
	}()
	return func() { close(ended); <-done }
}

func (n counts) totals() (messages, sequence uint64) {
	if n.Out != nil {
		return n.Out.Messages, n.Out.Sequence
	}
	return n.In.Messages, n.In.Sequence
}

// serveMetrics serves the counters as Prometheus wants them, until stop is called.
func serveMetrics(at, ring string, look func() counts) (stop func(), err error) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("-metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		n := look()
		side, text := "out", any(n.Out)
		if n.In != nil {
			side, text = "in", n.In
		}
		b, _ := json.Marshal(text)
		values := map[string]uint64{}
		_ = json.Unmarshal(b, &values)
		for _, name := range slices.Sorted(maps.Keys(values)) {
			kind, suffix := "counter", "_total"
			if name == "sequence" {
				kind, suffix = "gauge", ""
			}
			full := "shmring_relay_" + side + "_" + name + suffix
			fmt.Fprintf(w, "# TYPE %s %s\n%s{ring=%q} %d\n", full, kind, full, ring, values[name])
		}
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go s.Serve(l)
	return func() { s.Close() }, nil
}
