//go:build linux

// Lab kills a relay until somebody loses a message, or gets one twice.
//
//	go run ./relay/lab [-short] [-kills 1000] [-nodes 3] [-pack] …
//
// A producer, the two relays, a consumer that stores positions, and NATS servers run as processes
// of their own, and are killed by SIGKILL at random, one after the other, while messages of mixed
// sizes flow. Now and then a ring is removed and made anew. In the end everything is let through, and
// counted: what was sent, what is stored in the stream, what the consumer stored. Each message has to be there once,
// bit by bit, in order.
//
// With -netns there are two hosts, which are network namespaces: the producer and the relay out are on one, the relay
// in and the consumer on the other. A single server is on the first; of a cluster each node is on a host of its own.
// What goes from one host to another does so over a wire that this process is, which is late (-delay), loses packets
// (-loss), and is cut at a host now and then (-cuts). Nothing is left of the hosts when the laboratory ends, in
// whatever way.
//
//	go run ./relay/lab -netns -kills 0 -messages 1000000 [-nodes 3] [-delay 20ms -loss 0.1%]
//
// With -server build, or the path of one, the servers are processes of the program nats-server, and not of this one
// with a server in it.
//
// Exit code 0: it is; 1: it is not, or the laboratory itself has failed; 3: namespaces are not possible here.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// plan is what is to be done.
type plan struct {
	Kills   int           `json:"kills"`
	Nodes   int           `json:"nodes"`
	Server  string        `json:"server"` // embedded, build, or the path of a nats-server
	Pack    bool          `json:"pack"`
	Many    bool          `json:"mpsc"`
	Window  time.Duration `json:"window_ns"` // for duplicates, of the stream
	Anew    int           `json:"anew"`      // how often rings are made anew
	Seed    uint64        `json:"seed"`
	Retain  string        `json:"retention"`
	Rate    int           `json:"rate"`     // messages a second at most; 0: as fast as it goes
	Count   uint64        `json:"messages"` // that are sent at least
	Hosts   bool          `json:"netns"`
	Link    link          `json:"link"`
	Cuts    int           `json:"cuts"`
	CutFor  time.Duration `json:"cut_for_ns"` // at most
	Verbose bool          `json:"-"`
	Keep    bool          `json:"-"`
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == childWord {
		if err := child(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, os.Args[2]+":", err)
			os.Exit(1)
		}
		return
	}
	p := plan{}
	short := flag.Bool("short", false, "60 kills: less than half a minute")
	flag.IntVar(&p.Kills, "kills", 1000, "how many processes to kill")
	flag.IntVar(&p.Nodes, "nodes", 1, "NATS servers: 1, or 3 as a cluster with 3 replicas")
	flag.StringVar(&p.Server, "server", embedded,
		"what they are: embedded (this program), build (nats-server, of the version in go.mod), or the path of one")
	flag.BoolVar(&p.Pack, "pack", false, "small messages travel many in one")
	flag.BoolVar(&p.Many, "mpsc", false, "rings for many producers")
	flag.DurationVar(&p.Window, "window", time.Second, "window for duplicates of the stream")
	flag.IntVar(&p.Anew, "anew", 0, "how often to remove a ring and make it anew (0: once in 20 kills)")
	flag.Uint64Var(&p.Seed, "seed", uint64(time.Now().UnixNano()), "of chance")
	flag.StringVar(&p.Retain, "retention", "limits", "of the stream: limits, interest or workqueue")
	flag.IntVar(&p.Rate, "rate", 20_000, "messages a second at most")
	flag.Uint64Var(&p.Count, "messages", 0, "how many messages to send at least")
	flag.BoolVar(&p.Hosts, "netns", false, "two hosts, or with a cluster five, as network namespaces")
	flag.DurationVar(&p.Link.Delay, "delay", 0, "how long a packet is on its way between two hosts")
	flag.Func("loss", "how many packets are lost between two hosts, as 0.1%", func(text string) (err error) {
		p.Link.Loss, err = parsePart(text)
		return err
	})
	flag.IntVar(&p.Cuts, "cuts", 0, "how often to cut the link of a host")
	flag.DurationVar(&p.CutFor, "cut-for", 3*time.Second, "for how long at most")
	flag.BoolVar(&p.Verbose, "v", false, "tell what the processes say")
	flag.BoolVar(&p.Keep, "keep", false, "keep the directory, until the next run")
	flag.Parse()
	if *short {
		p.Kills = 60
	}
	if p.Anew == 0 {
		p.Anew = p.Kills / 20
	}
	if err := p.check(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	v, err := run(ctx, p)
	stop()
	text, _ := json.MarshalIndent(v, "", "  ")
	fmt.Println(string(text))
	if err = errors.Join(err, v.err()); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		if errors.Is(err, errNotPermitted) {
			os.Exit(3)
		}
		os.Exit(1)
	}
	fmt.Println("OK")
}

// check finds what cannot be.
func (p *plan) check() error {
	switch {
	case p.Nodes < 1 || p.Nodes > 5 || p.Kills < 0 || p.Cuts < 0 || p.Rate < 0 || p.Link.Delay < 0 || p.CutFor <= 0:
		return errors.New("-nodes is 1 to 5, and nothing is below zero")
	case !p.Hosts && (p.Link != link{} || p.Cuts > 0):
		return errors.New("-delay, -loss and -cuts are about the links between hosts: they want -netns")
	}
	return nil
}

// parsePart reads a part of the whole: 0.1%, or 0.001.
func parsePart(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	f, err := strconv.ParseFloat(number, 64)
	if percent {
		f /= 100
	}
	if err != nil || !(f >= 0 && f < 1) {
		return 0, fmt.Errorf("%q: want a part of the whole, less than 1, as 0.1%%", text)
	}
	return f, nil
}
