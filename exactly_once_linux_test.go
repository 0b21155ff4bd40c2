package shmring_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// journal is a sink that has each effect exactly once, though messages may come
// again: it stores the position of a message in the same step as the effect. Here the
// effect is a line in a file, and the step is one write of one line; a line that was
// cut off by a crash is no effect and is taken away. In a database it would be one
// transaction that changes the data and the row that holds the position.
//
// Positions belong to one ring. The first line names it, so that a journal is not
// continued with another.
type journal struct {
	file *os.File
	last shmring.Position
	any  bool
}

func openJournal(path string, ring [16]byte) (*journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	j := &journal{file: f}
	whole := bytes.LastIndexByte(text, '\n') + 1
	err = f.Truncate(int64(whole))
	if err == nil {
		_, err = f.Seek(int64(whole), io.SeekStart)
	}
	lines := strings.Split(strings.TrimSuffix(string(text[:whole]), "\n"), "\n")
	head := fmt.Sprintf("ring %x", ring)
	switch {
	case err != nil:
	case whole == 0:
		_, err = fmt.Fprintln(f, head)
	case lines[0] != head:
		err = fmt.Errorf("%s belongs to %s, this is %s", path, lines[0], head)
	case len(lines) > 1:
		j.any = true
		_, err = fmt.Sscanf(lines[len(lines)-1], "%d.%d", &j.last.Record, &j.last.Index)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

// effect writes what is to be remembered of a message, unless that has been done.
func (j *journal) effect(m shmring.Message, what any) error {
	if j.any && m.Position().Compare(j.last) <= 0 {
		return nil // it came again
	}
	if _, err := fmt.Fprintf(j.file, "%v %v\n", m.Position(), what); err != nil {
		return err
	}
	j.last, j.any = m.Position(), true
	return nil
}

// The sink in a loop: whatever kills this program, wherever, running it again has each
// effect once.
func Example_exactlyOnce() {
	dir, err := os.MkdirTemp("", "shmring-example-*")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	o := &shmring.Options{Dir: dir}
	p, err := shmring.OpenProducer(ctx, "orders", o)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, order := range []string{"apples", "pears", "plums"} {
		p.Send(ctx, []byte(order))
	}
	p.Close()

	run := func(most int) error {
		c, err := shmring.OpenConsumer(ctx, "orders", o)
		if err != nil {
			return err
		}
		defer c.Close()
		j, err := openJournal(filepath.Join(dir, "journal"), c.Info().UUID)
		if err != nil {
			return err
		}
		defer j.file.Close()
		for range most {
			m, err := c.Next(ctx)
			if err != nil {
				return err
			}
			fmt.Printf("%s, redelivered: %v\n", m.Bytes(), m.Redelivered())
			if err := j.effect(m, string(m.Bytes())); err != nil {
				return err
			}
			if most == 2 {
				continue // this run ends before it has released anything
			}
			m.Release()
		}
		return nil
	}
	fmt.Println(run(2))
	fmt.Println(run(4))
	text, _ := os.ReadFile(filepath.Join(dir, "journal"))
	_, lines, _ := strings.Cut(string(text), "\n")
	fmt.Print(lines)
	// Output:
	// apples, redelivered: false
	// pears, redelivered: false
	// <nil>
	// apples, redelivered: true
	// pears, redelivered: true
	// plums, redelivered: false
	// EOF
	// 0.0 apples
	// 16.0 pears
	// 32.0 plums
}

// sink is a child that is killed again and again.
func sink(ctx context.Context, dir string) error {
	c, err := shmring.OpenConsumer(ctx, "r", &shmring.Options{Dir: dir, WaitForRole: true})
	if err != nil {
		return err
	}
	j, err := openJournal(filepath.Join(dir, "journal"), c.Info().UUID)
	if err != nil {
		return err
	}
	fmt.Println("begins")
	for m, err := range c.All(ctx) {
		if err != nil {
			return err
		}
		if err := j.effect(m, binary.LittleEndian.Uint64(m.Bytes())); err != nil {
			return err
		}
	}
	return c.Close()
}

// The recipe of Example_exactlyOnce under SIGKILL: each message has its effect once,
// and in order, though many come again. Every other message is in a batch.
func TestExactlyOnce(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots = 256
		p := openProducer(t, &o)
		ctx, stop := context.WithCancel(t.Context())
		total := make(chan int)
		go func() {
			i := 0
			for ctx.Err() == nil {
				n, err := p.SendBatch(ctx, [][]byte{numbered(i), numbered(i + 1), numbered(i + 2)})
				i += n
				if err == nil && p.Send(ctx, numbered(i)) == nil {
					i++
				}
			}
			total <- i
		}()
		for range 30 {
			cmd, told := spawn(t, o.Dir, 0, 0, "sink")
			require.True(t, told.Scan())
			time.Sleep(time.Duration(rand.IntN(5000)) * time.Microsecond) // when it dies is up to chance
			cmd.Process.Kill()
			cmd.Wait()
		}
		stop()
		sent := <-total
		cmd, told := spawn(t, o.Dir, 0, 0, "sink")
		require.True(t, told.Scan())
		require.NoError(t, p.Close())
		require.NoError(t, cmd.Wait())
		text, err := os.ReadFile(filepath.Join(o.Dir, "journal"))
		require.NoError(t, err)
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")[1:]
		require.Len(t, lines, sent)
		for i, line := range lines {
			_, number, _ := strings.Cut(line, " ")
			require.Equal(t, fmt.Sprint(i), number)
		}
		t.Log(sent, "messages")
	})
}
