//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/relay"
)

// verdict is what the laboratory says.
type verdict struct {
	Plan      plan           `json:"plan"`
	Killed    map[string]int `json:"killed"`
	RingsAnew int            `json:"rings_made_anew"`
	Seconds   float64        `json:"seconds"` // until all was through
	Cuts      int            `json:"links_cut"`
	Carried   uint64         `json:"packets_carried"` // between hosts
	Dropped   uint64         `json:"packets_dropped"`

	Sent       uint64 `json:"sent"`        // sends that returned
	Perhaps    uint64 `json:"perhaps"`     // producers that were killed, of which one message more may be there
	Stored     uint64 `json:"stored"`      // messages in the stream
	StoredTwo  uint64 `json:"stored_more"` // of those, again
	Delivered  uint64 `json:"delivered"`   // lines of the sink
	Twice      uint64 `json:"twice"`
	Lost       uint64 `json:"lost"`
	Damaged    uint64 `json:"damaged"`
	OutOfOrder uint64 `json:"out_of_order"`
}

func (v *verdict) count(what string) {
	if v.Killed == nil {
		v.Killed = map[string]int{}
	}
	v.Killed[what]++
}

func (v *verdict) err() error {
	switch {
	case v.StoredTwo > 0, v.Twice > 0, v.Lost > 0, v.Damaged > 0, v.OutOfOrder > 0:
		return fmt.Errorf(
			"%d stored more than once, %d delivered more than once, %d lost, %d damaged, %d out of order",
			v.StoredTwo,
			v.Twice,
			v.Lost,
			v.Damaged,
			v.OutOfOrder,
		)
	case v.Delivered == 0:
		return errors.New("nothing was delivered")
	}
	return nil
}

// letThrough stops the producer, when it has sent what it is to, and waits until everything has come out.
func (l *lab) letThrough(ctx context.Context) error {
	for l.Count > 0 {
		sent, err := l.readSent()
		if err != nil {
			return err
		}
		if total(sent) >= l.Count {
			break
		}
		if err := l.isStuck(ctx); err != nil {
			return err
		}
	}
	if err := l.kill(l.processes[producer]); err != nil {
		return err
	}
	if err := l.empty(ctx, ringOut); err != nil {
		return err
	}
	sent, err := l.readSent()
	if err != nil {
		return err
	}
	if l.setup.Retain == "limits" { // else nothing is left there to count
		if err := l.judgeStream(ctx); err != nil {
			return err
		}
	}
	for {
		through, err := l.isThrough(sent)
		if through || err != nil {
			return err
		}
		if err := l.isStuck(ctx); err == errStuck {
			return nil // the judge will tell what is missing
		} else if err != nil {
			return err
		}
	}
}

// errStuck: nothing comes out any more.
var errStuck = fmt.Errorf("nothing has come out for %v", patience)

// isStuck waits a moment, and tells whether nothing has come out for too long.
func (l *lab) isStuck(ctx context.Context) error {
	before := l.lines
	if err := l.countLines(); err != nil {
		return err
	}
	if l.lines > before || l.grown.IsZero() {
		l.grown = time.Now()
	}
	if time.Since(l.grown) > patience {
		return errStuck
	}
	return pause(ctx, 20*time.Millisecond)
}

// countLines counts the lines that the sink has.
func (l *lab) countLines() error {
	f, err := os.Open(l.setup.Dir + "/sink")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1<<16)
	for {
		n, err := f.ReadAt(b, l.sunk)
		whole := bytes.LastIndexByte(b[:n], '\n') + 1 // half a line may be cut off again
		l.lines += uint64(bytes.Count(b[:whole], []byte("\n")))
		l.sunk += int64(whole)
		if err == io.EOF || whole == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// isThrough tells whether as much has come out as went in.
func (l *lab) isThrough(sent map[uint64]uint64) (bool, error) {
	if err := l.countLines(); err != nil {
		return false, err
	}
	if l.setup.Retain == "limits" {
		return l.lines >= l.verdict.Stored, nil
	}
	f, err := os.Open(l.setup.Dir + "/sink")
	if err != nil {
		return false, err
	}
	defer f.Close()
	line, err := newestLine(f, l.sunk)
	if err != nil {
		return false, err
	}
	run, number, _, err := lineOf(line)
	if err != nil {
		return false, nil // none yet
	}
	newest := uint64(0)
	for r, n := range sent {
		if n > 0 {
			newest = max(newest, r)
		}
	}
	return run >= newest && number+1 >= sent[newest], nil
}

func total(sent map[uint64]uint64) (sum uint64) {
	for _, n := range sent {
		sum += n
	}
	return sum
}

// readSent is how many messages each run of the producer has sent for certain.
func (l *lab) readSent() (map[uint64]uint64, error) {
	sent := map[uint64]uint64{}
	for run := range l.processes[producer].runs {
		b, err := os.ReadFile(sentPath(l.setup.Dir, run))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if len(b) == 8 {
			sent[uint64(run)] = binary.LittleEndian.Uint64(b)
		}
	}
	return sent, nil
}

// judge counts what came out.
func (l *lab) judge() error {
	sent, err := l.readSent()
	if err != nil {
		return err
	}
	l.verdict.Sent = total(sent)
	if err := l.judgeSink(sent); err != nil {
		return err
	}
	if l.setup.Retain == "limits" && l.verdict.Stored != l.verdict.Delivered {
		return fmt.Errorf("%d messages are stored, and %d were delivered", l.verdict.Stored, l.verdict.Delivered)
	}
	return nil
}

// judgeSink holds the lines of the sink to what was sent.
func (l *lab) judgeSink(sent map[uint64]uint64) error {
	f, err := os.Open(l.setup.Dir + "/sink")
	if err != nil {
		return err
	}
	defer f.Close()
	next, newest := map[uint64]uint64{}, uint64(0)
	for s := bufio.NewScanner(f); s.Scan(); {
		run, number, whole, err := lineOf(s.Text())
		if err != nil {
			return err
		}
		l.verdict.Delivered++
		switch {
		case !whole:
			l.verdict.Damaged++
		case number < next[run]:
			l.verdict.Twice++
		default:
			l.verdict.Lost += number - next[run]
			next[run] = number + 1
		}
		if run < newest {
			l.verdict.OutOfOrder++
		}
		newest = max(newest, run)
	}
	for run, n := range sent {
		switch {
		case next[run] < n:
			l.verdict.Lost += n - next[run]
		case next[run] == n+1:
			l.verdict.Perhaps++ // it was killed between the send and writing that down
		case next[run] > n+1:
			return fmt.Errorf("run %d has sent %d messages, and %d came", run, n, next[run])
		}
	}
	return nil
}

// judgeStream holds the stream to have each position of each ring once, and in order.
func (l *lab) judgeStream(ctx context.Context) error {
	var options []nats.Option
	if l.hosts != nil {
		options = append(options, nats.SetCustomDialer(l.hosts.list[1]))
	}
	nc, err := nats.Connect(l.URL, options...)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	call, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stream, err := js.Stream(call, streamName)
	if err != nil {
		return fmt.Errorf("stream %s, which is to be counted: %w", streamName, err)
	}
	c, err := stream.OrderedConsumer(call, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		return err
	}
	it, err := c.Messages()
	if err != nil {
		return err
	}
	defer it.Stop()
	newest := map[string]shmring.Position{}
	for seq, last := uint64(0), stream.CachedInfo().State.LastSeq; seq < last; {
		m, err := it.Next(jetstream.NextMaxWait(patience))
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		seq = meta.Sequence.Stream
		h := m.Headers()
		if h.Get(relay.HeaderEnd) != "" {
			continue
		}
		from, err := relay.ParseSender(h.Get(relay.HeaderSender))
		if err != nil {
			return err
		}
		ring, position := from.Ring, from.Position
		if before, known := newest[ring]; known && position.Compare(before) <= 0 {
			l.verdict.StoredTwo++
		}
		newest[ring] = position
		n := 1
		if text := h.Get(relay.HeaderPacked); text != "" {
			if n, err = strconv.Atoi(text); err != nil {
				return err
			}
		}
		l.verdict.Stored += uint64(n)
	}
	return nil
}
