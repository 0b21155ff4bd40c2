//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/relay"
	"github.com/shmring/shmring/relay/embed"
)

// childWord is the first argument of a process of the laboratory.
const childWord = "lab-child"

const (
	ringOut, ringIn = "lab-a", "lab-b"
	streamName      = "LAB"
)

// setup is what all children are told.
type setup struct {
	Dir, Rings string // for files; of the rings
	URL        string
	Pack, Many bool
	Window     time.Duration
	Replicas   int
	Retain     string
	Rate       int
	Run        int // how many there were of the kind before
}

func child(what string, args []string) error {
	s, err := parseSetup(args[0])
	if err != nil {
		return err
	}
	ctx := context.Background()
	switch what {
	case "server":
		return serve(ctx, s, args[1:])
	case "producer":
		return produce(ctx, s)
	case "consumer":
		return consume(ctx, s)
	case "out", "in":
		return relayIt(ctx, s, what)
	}
	return fmt.Errorf("no such process: %s", what)
}

// serve is a NATS server: its store, its address, its name, and those of the cluster.
func serve(ctx context.Context, _ setup, args []string) error {
	o := &embed.Options{Listen: args[1], Name: args[2]}
	if len(args) > 3 {
		o.Cluster, o.Routes = args[3], args[4:]
	}
	if _, err := embed.Start(ctx, args[0], o); err != nil {
		return err
	}
	select {}
}

func (s *setup) ring() shmring.Options {
	o := shmring.Options{Dir: s.Rings, Slots: 1024, SlotSize: 256, MaxMessage: 64 << 10, WaitForRole: true}
	if s.Many {
		o.Kind, o.MaxProducers = shmring.KindMPSC, 16
	}
	return o
}

// A message: the run of the producer, its number in that run, and bytes that follow from both.
func message(run, number uint64) []byte {
	r := rand.New(rand.NewPCG(run, number))
	size := 16 + r.IntN(200)
	switch r.IntN(50) {
	case 0:
		size += r.IntN(40 << 10)
	case 1, 2, 3:
		size += r.IntN(4 << 10)
	}
	b := make([]byte, 16, size)
	binary.LittleEndian.PutUint64(b, run)
	binary.LittleEndian.PutUint64(b[8:], number)
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:size]
}

// produce sends, and writes down behind each send that it has returned.
func produce(ctx context.Context, s setup) error {
	o := s.ring()
	p, err := shmring.OpenProducer(ctx, ringOut, &o)
	if err != nil {
		return err
	}
	f, err := os.Create(sentPath(s.Dir, s.Run))
	if err != nil {
		return err
	}
	begin := time.Now()
	for n := uint64(0); ; n++ {
		if err := p.Send(ctx, message(uint64(s.Run), n)); err != nil {
			return err
		}
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], n+1)
		if _, err := f.WriteAt(b[:], 0); err != nil {
			return err
		}
		if s.Rate == 0 {
			continue
		}
		if due := begin.Add(time.Duration(n) * time.Second / time.Duration(s.Rate)); time.Until(due) > time.Millisecond {
			time.Sleep(time.Until(due)) // this is how fast it is to go
		}
	}
}

func sentPath(dir string, run int) string { return fmt.Sprintf("%s/sent-%d", dir, run) }

func readyPath(dir string, run int) string { return fmt.Sprintf("%s/ready-%d", dir, run) }

// relayIt is one of the relays.
func relayIt(ctx context.Context, s setup, what string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	nc, err := nats.Connect(
		s.URL,
		nats.MaxReconnects(-1),
		nats.ReconnectWait(20*time.Millisecond),
		nats.RetryOnFailedConnect(true),
	)
	if err != nil {
		return err
	}
	common := relay.Common{Ring: s.ring(), Stream: streamName, OnTrouble: func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, what+": trouble:", err)
		}
	}}
	if what == "in" {
		in, err := relay.NewIn(nc, ringIn, &relay.InOptions{Common: common, Durable: "lab"})
		if err != nil {
			return err
		}
		go func() {
			for in.Stats().Sequence == 0 { // it has looked what became of what the one before it was sending
				time.Sleep(time.Millisecond)
			}
			os.WriteFile(readyPath(s.Dir, s.Run), nil, 0o600)
		}()
		return in.Run(ctx)
	}
	retention := map[string]jetstream.RetentionPolicy{
		"limits": jetstream.LimitsPolicy, "interest": jetstream.InterestPolicy, "workqueue": jetstream.WorkQueuePolicy,
	}[s.Retain]
	out, err := relay.NewOut(nc, ringOut, &relay.OutOptions{
		Common: common, Origin: "lab", Pack: s.Pack, MessageIDs: true, AckTimeout: 2 * time.Second,
		Create: &jetstream.StreamConfig{Duplicates: s.Window, Replicas: s.Replicas, Retention: retention},
	})
	if err != nil {
		return err
	}
	return out.Run(ctx)
}

// consume is a sink that stores the position with the effect: a line, by one write.
func consume(ctx context.Context, s setup) error {
	f, err := os.OpenFile(s.Dir+"/sink", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	last, err := lastLine(f)
	if err != nil {
		return err
	}
	o := s.ring()
	o.Kind, o.MaxProducers = 0, 0
	c, err := shmring.OpenConsumer(ctx, ringIn, &o)
	if err != nil {
		return err
	}
	id := fmt.Sprintf("%x", c.Info().UUID)
	position, known := shmring.Position{}, false
	if words := strings.Fields(last); len(words) > 1 && words[0] == id {
		if position, err = shmring.ParsePosition(words[1]); err != nil {
			return err
		}
		known = true
	}
	for m, err := range c.All(ctx) {
		var ended *shmring.StreamError
		if errors.As(err, &ended) {
			continue
		}
		if err != nil {
			return err
		}
		if known && m.Position().Compare(position) <= 0 {
			continue
		}
		b := m.Bytes()
		run, number := uint64(0), uint64(0)
		if len(b) >= 16 {
			run, number = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		}
		state := "whole"
		if !bytes.Equal(b, message(run, number)) {
			state = "damaged"
		}
		if _, err := fmt.Fprintf(
			f,
			"%s %v %d %d %s %08x\n",
			id,
			m.Position(),
			run,
			number,
			state,
			crc32.ChecksumIEEE(b),
		); err != nil {
			return err
		}
	}
	return io.EOF
}

// lastLine is the last whole line of a file; what is behind it is cut off.
func lastLine(f *os.File) (string, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	from := max(0, end-4096)
	b := make([]byte, end-from)
	if _, err := f.ReadAt(b, from); err != nil && err != io.EOF {
		return "", err
	}
	whole := from + int64(bytes.LastIndexByte(b, '\n')+1)
	if err := f.Truncate(whole); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return "", err
	}
	return newestLine(f, whole)
}

// newestLine is the line that ends right before an offset, which is behind a line. Empty: there is none.
func newestLine(f *os.File, end int64) (string, error) {
	from := max(0, end-4096)
	b := make([]byte, end-from)
	if _, err := f.ReadAt(b, from); err != nil && err != io.EOF {
		return "", err
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	return string(b[bytes.LastIndexByte(b, '\n')+1:]), nil
}

// lineOf reads a line of the sink.
func lineOf(line string) (run, number uint64, whole bool, err error) {
	words := strings.Fields(line)
	if len(words) != 6 {
		return 0, 0, false, fmt.Errorf("a line of the sink: %q", line)
	}
	run, err = strconv.ParseUint(words[2], 10, 64)
	if err == nil {
		number, err = strconv.ParseUint(words[3], 10, 64)
	}
	return run, number, words[4] == "whole", err
}
