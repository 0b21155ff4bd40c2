package fanout_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fanout"
)

// What the test binary is asked to be: the consumer of a ring.
const (
	envRing = "SHMRING_FANOUT_RING"
	envDir  = "SHMRING_FANOUT_DIR"
)

func TestMain(m *testing.M) {
	if ring := os.Getenv(envRing); ring == forgets {
		if err := forget(os.Getenv(envDir)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	} else if ring != "" {
		if err := consume(ring, os.Getenv(envDir)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// consume prints each message before it is released, and the end.
func consume(ring, dir string) error {
	c, err := shmring.OpenConsumer(context.Background(), ring, &shmring.Options{Dir: dir, WaitForRole: true})
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		m, err := c.Next(context.Background())
		if err == io.EOF || errors.Is(err, shmring.ErrFailed) {
			_, err = fmt.Println("end", err == io.EOF)
			return err
		}
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(append(m.Bytes(), '\n')); err != nil {
			return err
		}
		m.Release()
	}
}

// forgets is the ring of a process that is to forget a FanOut.
const forgets = "forgets"

// forget sends with a FanOut and forgets it, has the garbage collected, says so, and ends when its input does.
func forget(dir string) error {
	if err := func() error {
		f := fanout.New()
		for _, name := range []string{"a", "b"} {
			p, err := shmring.OpenProducer(context.Background(), name, &shmring.Options{Dir: dir})
			if err != nil {
				return err
			}
			if err := f.Add(fanout.Target{Name: name, Producer: p}); err != nil {
				return err
			}
		}
		for i := range 3 {
			if err := f.Send(context.Background(), fmt.Append(nil, i)); err != nil {
				return err
			}
		}
		return nil
	}(); err != nil {
		return err
	}
	for range 5 {
		runtime.GC()
	}
	fmt.Println("forgotten")
	_, err := io.Copy(io.Discard, os.Stdin)
	for range 5 {
		runtime.GC()
	}
	return err
}

// A FanOut that is forgotten and collected loses nothing that it has sent, and nobody takes its place: it looks like
// one that is silent while its process lives, and then like one that has died.
func TestForgottenFanOut(t *testing.T) {
	r := newRig(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envRing+"="+forgets, envDir+"="+r.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	ended := sync.OnceValue(cmd.Wait)
	defer ended()
	defer cmd.Process.Kill()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "forgotten", lines.Text())
	for _, name := range []string{"a", "b"} {
		c := r.consumer(name)
		for i := range 3 {
			m, err := c.Next(soon(t))
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(i), string(m.Bytes()))
			m.Release()
		}
		_, err := c.TryNext()
		require.Equal(t, shmring.ErrEmpty, err)
		_, err = shmring.OpenProducer(soon(t), name, &shmring.Options{Dir: r.dir})
		busy, ok := errors.AsType[*shmring.BusyError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, cmd.Process.Pid, busy.PID)
		if name == "a" {
			continue
		}
		require.NoError(t, in.Close())
		require.NoError(t, ended())
		_, err = c.Next(soon(t))
		require.ErrorIs(t, err, shmring.ErrPeerDead)
		p, err := shmring.OpenProducer(soon(t), name, &shmring.Options{Dir: r.dir})
		require.NoError(t, err)
		require.NoError(t, p.Close())
	}
}

// reader is the consumer process of a ring, and what all of its predecessors have printed.
type reader struct {
	r    *rig
	ring string

	cmd *exec.Cmd
	got []string      // written until end is closed
	end chan struct{} // of the process
}

func (r *rig) reader(ring string) *reader {
	c := &reader{r: r, ring: ring}
	c.start()
	r.t.Cleanup(func() { c.kill() })
	return c
}

func (c *reader) start() {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envRing+"="+c.ring, envDir+"="+c.r.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	require.NoError(c.r.t, err)
	require.NoError(c.r.t, cmd.Start())
	c.cmd, c.end = cmd, make(chan struct{})
	go func() {
		defer close(c.end)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.got = append(c.got, lines.Text())
		}
		cmd.Wait()
	}()
}

func (c *reader) kill() {
	c.cmd.Process.Kill()
	<-c.end
}

// all is what was printed, when the process has ended.
func (c *reader) all() []string {
	c.r.t.Helper()
	select {
	case <-c.end:
	case <-time.After(30 * time.Second):
		c.r.t.Fatalf("the consumer of %s does not end", c.ring)
	}
	require.NotEmpty(c.r.t, c.got)
	return c.got
}

// Targets with the policy Block lose nothing, though their consumers are stopped and killed again and again; what
// others lose is counted, and who is disconnected is told so.
func TestConsumersThatDie(t *testing.T) {
	const messages = 20000
	r := newRig(t)
	small := shmring.Options{Slots: 64}
	for name, policy := range map[string]fanout.Policy{"all": fanout.Block, "every": fanout.Block, "some": fanout.Drop,
		"few": fanout.Disconnect} {
		r.add(fanout.Target{Name: name, Policy: policy}, small)
	}
	all, every, some, few := r.reader("all"), r.reader("every"), r.reader("some"), r.reader("few")
	for i := range messages {
		require.NoError(t, r.f.Send(soon(t), fmt.Append(nil, i)))
		switch i % 2000 {
		case 500:
			all.kill()
			all.start()
		case 1000:
			require.NoError(t, some.cmd.Process.Signal(syscall.SIGSTOP))
			few.cmd.Process.Signal(syscall.SIGSTOP) // unless it has gone already
		case 1500:
			require.NoError(t, every.cmd.Process.Signal(syscall.SIGSTOP))
			time.AfterFunc(2*time.Millisecond, func() { // Send waits for it
				every.cmd.Process.Signal(syscall.SIGCONT)
				some.cmd.Process.Signal(syscall.SIGCONT)
			})
		}
	}
	stats := map[string]fanout.Stats{}
	for _, s := range r.f.Stats() {
		stats[s.Name] = s
	}
	some.cmd.Process.Signal(syscall.SIGCONT)
	few.cmd.Process.Signal(syscall.SIGCONT)
	require.NoError(t, r.f.Close())
	for _, c := range []*reader{all, every, some} {
		got := c.all()
		require.Equal(t, "end true", got[len(got)-1])
		next, seen := 0, 0
		for _, line := range got[:len(got)-1] {
			n, err := strconv.Atoi(strings.TrimSpace(line))
			require.NoError(t, err, c.ring)
			if n < next { // killed between printing and releasing
				require.Equal(t, "all", c.ring)
				continue
			}
			if c != some {
				require.Equal(t, next, n, c.ring)
			}
			next, seen = n+1, seen+1
		}
		s := stats[c.ring]
		require.EqualValues(t, s.Messages, seen, c.ring)
		require.EqualValues(t, messages, s.Messages+s.Dropped, c.ring)
	}
	require.ErrorIs(t, stats["few"].Gone, shmring.ErrFull)
	got := few.all()
	require.Equal(t, "end false", got[len(got)-1])
	require.Less(t, len(got), messages)
}
