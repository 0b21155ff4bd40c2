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
// Exit code 0: it is; 1: it is not, or the laboratory itself has failed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// plan is what is to be done.
type plan struct {
	Kills   int           `json:"kills"`
	Nodes   int           `json:"nodes"`
	Pack    bool          `json:"pack"`
	Many    bool          `json:"mpsc"`
	Window  time.Duration `json:"window_ns"` // for duplicates, of the stream
	Anew    int           `json:"anew"`      // how often rings are made anew
	Seed    uint64        `json:"seed"`
	Retain  string        `json:"retention"`
	Rate    int           `json:"rate"` // messages a second at most
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
	flag.BoolVar(&p.Pack, "pack", false, "small messages travel many in one")
	flag.BoolVar(&p.Many, "mpsc", false, "rings for many producers")
	flag.DurationVar(&p.Window, "window", time.Second, "window for duplicates of the stream")
	flag.IntVar(&p.Anew, "anew", 0, "how often to remove a ring and make it anew (0: once in 20 kills)")
	flag.Uint64Var(&p.Seed, "seed", uint64(time.Now().UnixNano()), "of chance")
	flag.StringVar(&p.Retain, "retention", "limits", "of the stream: limits, interest or workqueue")
	flag.IntVar(&p.Rate, "rate", 20_000, "messages a second at most")
	flag.BoolVar(&p.Verbose, "v", false, "tell what the processes say")
	flag.BoolVar(&p.Keep, "keep", false, "keep the directory")
	flag.Parse()
	if *short {
		p.Kills = 60
	}
	if p.Anew == 0 {
		p.Anew = p.Kills / 20
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	v, err := run(ctx, p)
	stop()
	text, _ := json.MarshalIndent(v, "", "  ")
	fmt.Println(string(text))
	if err = errors.Join(err, v.err()); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
	fmt.Println("OK")
}
