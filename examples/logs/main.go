// Command logs has programs log into one ring, and one program write down what they log:
//
//	logs say "something has happened"
//	logs collect
//
// An io.Writer over a ring is all that takes: log/slog calls Write once for each record.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/shmring/shmring"
)

const ring = "logs"

// writer is an io.Writer of whom each Write is a message. Who logs does not wait for who collects: what
// has no room is dropped, and counted in Stats.
type writer struct{ p *shmring.Producer }

func (w writer) Write(b []byte) (int, error) {
	return len(b), w.p.Send(context.Background(), b)
}

func main() {
	err := fmt.Errorf("usage: logs say TEXT | logs collect")
	switch {
	case len(os.Args) == 3 && os.Args[1] == "say":
		err = say(os.Args[2])
	case len(os.Args) == 2 && os.Args[1] == "collect":
		err = collect(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func say(text string) error {
	p, err := shmring.OpenProducer(context.Background(), ring, &shmring.Options{
		Kind: shmring.KindMPSC, WhenFull: shmring.WhenFullDrop,
	})
	if err != nil {
		return err
	}
	slog.New(slog.NewJSONHandler(writer{p}, nil)).Info(text, "pid", os.Getpid())
	return p.Close()
}

// collect is io.Copy with a ring as its source: it ends when all who had the ring open have left.
func collect(to io.Writer) error {
	c, err := shmring.OpenConsumer(context.Background(), ring, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	for m, err := range c.All(context.Background()) {
		if err != nil {
			return err
		}
		if _, err := to.Write(m.Bytes()); err != nil {
			return err
		}
	}
	return nil
}
