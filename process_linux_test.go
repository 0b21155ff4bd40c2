package shmring_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// The test binary is also the other process: with this in its environment it is a
// producer of numbered messages.
const childEnv = "SHMRING_TEST_CHILD"

func TestMain(m *testing.M) {
	if args := os.Getenv(childEnv); args != "" {
		run := child
		if strings.HasPrefix(args, sealedChild) {
			run = sealedChildren
		}
		if err := run(strings.Fields(args)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child sends count numbered messages, beginning with first, and tells on stdout how
// many sends have returned. With "stop" it then waits to be killed.
func child(args []string) error {
	var dir, how string
	var first, count int
	if _, err := fmt.Sscan(strings.Join(args, " "), &dir, &first, &count, &how); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch how {
	case "consume":
		return consume(ctx, dir, shmring.DeliveryAtLeastOnce)
	case "once":
		return consume(ctx, dir, shmring.DeliveryAtMostOnce)
	case "hold":
		return hold(ctx, dir)
	case "inspect":
		return inspect(ctx, dir)
	case "resize":
		return resizer(ctx, dir)
	case "claim":
		return claim(ctx, dir)
	case "shout":
		return shout(ctx, dir)
	case "follow":
		return follow(ctx, dir)
	case "both":
		return both(ctx, dir)
	case "unfenced":
		return withoutBarriers(ctx, dir)
	case "sink":
		return sink(ctx, dir)
	}
	p, err := shmring.OpenProducer(ctx, "r", &shmring.Options{Dir: dir, Mode: shmring.ModeOpenOnly, WaitForRole: true})
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	for i := range count {
		if err := p.Send(ctx, numbered(first+i)); err != nil {
			return err
		}
		if how == "tell" {
			fmt.Fprintln(out, first+i)
			out.Flush()
		}
	}
	if how == "stop" {
		fmt.Fprintln(os.Stdout, "sent")
		<-ctx.Done()
	}
	return p.Close()
}

// consume receives for ever and tells on stdout what it has handled, and whether it
// was warned.
func consume(ctx context.Context, dir string, promise shmring.Delivery) error {
	o := &shmring.Options{Dir: dir, Mode: shmring.ModeOpenOnly, WaitForRole: true, Delivery: promise}
	c, err := shmring.OpenConsumer(ctx, "r", o)
	if err != nil {
		return err
	}
	for m, err := range c.All(ctx) {
		if err != nil {
			return err
		}
		i := binary.LittleEndian.Uint64(m.Bytes())
		if string(numbered(int(i))) != string(m.Bytes()) {
			return fmt.Errorf("message %d is torn", i)
		}
		fmt.Println(i, m.Redelivered())
	}
	return c.Close()
}

// numbered makes messages of many sizes whose every byte follows from the number.
func numbered(i int) []byte {
	rng := rand.New(rand.NewPCG(uint64(i), 3))
	b := make([]byte, 8+rng.IntN(600))
	binary.LittleEndian.PutUint64(b, uint64(i))
	for j := 8; j < len(b); j++ {
		b[j] = byte(rng.Uint32())
	}
	return b
}

func spawn(t *testing.T, args ...any) (*exec.Cmd, *bufio.Scanner) {
	cmd, out, _ := spawnWithInput(t, args...)
	return cmd, out
}

// spawnIn starts a child in surroundings of its own.
func spawnIn(t *testing.T, attr *syscall.SysProcAttr, args ...any) (*exec.Cmd, *bufio.Scanner) {
	cmd, out, _ := spawnAs(t, attr, args...)
	return cmd, out
}

func spawnWithInput(t *testing.T, args ...any) (*exec.Cmd, *bufio.Scanner, io.Writer) {
	return spawnAs(t, nil, args...)
}

func spawnAs(t *testing.T, attr *syscall.SysProcAttr, args ...any) (*exec.Cmd, *bufio.Scanner, io.Writer) {
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(soon(t), exe)
	cmd.SysProcAttr = attr
	cmd.Env = append(os.Environ(), childEnv+"="+strings.TrimSpace(fmt.Sprintln(args...)))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, bufio.NewScanner(out), in
}

func checkNumbered(t *testing.T, b []byte) int {
	require.GreaterOrEqual(t, len(b), 8)
	i := int(binary.LittleEndian.Uint64(b))
	require.Equal(t, numbered(i), b, "message %d", i)
	return i
}

// Messages cross processes, in order and unharmed, and then the stream ends.
func TestBetweenProcesses(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots = shmring.ModeCreateOnly, 64
		c := openConsumer(t, &o)
		const count = 20000
		cmd, _ := spawn(t, o.Dir, 0, count, "quietly")
		next := 0
		for m, err := range c.All(soon(t)) {
			require.NoError(t, err)
			require.Equal(t, next, checkNumbered(t, m.Bytes()))
			next++
		}
		require.Equal(t, count, next)
		require.NoError(t, cmd.Wait())
		require.Zero(t, c.Stats().TimeoutWakeups)
	})
}

// A producer killed by SIGKILL in the middle of its work loses nothing that a Send
// had returned for, and its successor goes on, without anybody cleaning up.
func TestProducerIsKilled(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots = shmring.ModeCreateOnly, 64
		c := openConsumer(t, &o)
		ctx := soon(t)
		buf := make([]byte, 1<<16)
		next := 0
		receive := func() error {
			n, err := c.Receive(ctx, buf)
			if err == nil {
				require.Equal(t, next, checkNumbered(t, buf[:n]))
				next++
			}
			return err
		}
		for life := range 20 {
			cmd, told := spawn(t, o.Dir, next, 1_000_000, "tell")
			confirmed := next - 1
			go func() {
				time.Sleep(time.Duration(rand.IntN(5000)) * time.Microsecond) // when it dies is up to chance
				cmd.Process.Kill()
			}()
			done := make(chan struct{})
			go func() {
				for told.Scan() {
					confirmed, _ = strconv.Atoi(told.Text())
				}
				close(done)
			}()
			for gone := false; ; {
				wait, cancel := context.WithTimeout(ctx, time.Millisecond)
				n, err := c.Receive(wait, buf)
				cancel()
				if err == nil {
					require.Equal(t, next, checkNumbered(t, buf[:n]))
					next++
					continue
				}
				if !deadError(err) {
					require.ErrorIs(t, err, context.DeadlineExceeded)
				}
				if gone {
					break // nothing came after it was gone
				}
				select {
				case <-done:
					gone = true
				default:
				}
			}
			cmd.Wait()
			require.GreaterOrEqual(t, next, confirmed+1, "life %d: a message that was sent is missing", life)
		}
		spawn(t, o.Dir, next, 10, "quietly")
		for want := next + 10; next < want; {
			if err := receive(); !deadError(err) {
				require.NoError(t, err)
			}
		}
		require.Equal(t, io.EOF, receive())
	})
}

func deadError(err error) bool {
	_, ok := err.(*shmring.StreamError)
	return ok
}

// sendUntil sends numbered messages until stop is closed, and then says how many.
func sendUntil(t *testing.T, p *shmring.Producer, stop <-chan struct{}, sent chan<- int) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			sent <- i
			return
		default:
		}
		if err := p.Send(context.Background(), numbered(i)); err != nil {
			t.Error(err)
			sent <- i
			return
		}
	}
}

// A consumer killed by SIGKILL is followed by one that gets everything it had not
// released, and is warned of what may come twice.
func TestConsumerIsKilled(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots = 256
		p := openProducer(t, &o)
		stop := make(chan struct{})
		sent := make(chan int)
		go sendUntil(t, p, stop, sent)
		handled := -1 // the last number anybody has told of
		twice := 0
		for range 20 {
			cmd, told := spawn(t, o.Dir, 0, 0, "consume")
			first := true
			var kill *time.Timer
			for told.Scan() {
				var i int
				var redelivered bool
				if _, err := fmt.Sscan(told.Text(), &i, &redelivered); err != nil {
					break // cut off by the kill
				}
				if first {
					// When it dies after its first message is up to chance.
					kill = time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { cmd.Process.Kill() })
					first = false
				}
				if i <= handled {
					require.True(t, redelivered, "message %d came again without a warning", i)
					require.Less(t, handled-i, 64+1)
					twice++
				} else {
					require.Equal(t, handled+1, i, "lost")
					handled = i
				}
			}
			require.NotNil(t, kill, "no message came")
			cmd.Wait()
		}
		close(stop)
		c := openConsumer(t, &o)
		require.True(t, c.Info().TookOver)
		total := -1
		for handled+1 != total {
			select {
			case total = <-sent:
			default:
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			m, err := c.Next(ctx)
			cancel()
			if err != nil {
				require.ErrorIs(t, err, context.DeadlineExceeded)
				continue
			}
			if i := checkNumbered(t, m.Bytes()); i > handled {
				require.Equal(t, handled+1, i)
				handled = i
			}
			m.Release()
		}
		t.Log(handled+1, "messages,", twice, "came twice")
	})
}

// A consumer that sleeps learns of the producer's death by itself.
func TestDeathIsNoticedWhileAsleep(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), Mode: shmring.ModeCreateOnly, WaitPolicy: shmring.WaitSleep}
	c := openConsumer(t, &o)
	cmd, told := spawn(t, o.Dir, 0, 1, "stop")
	require.True(t, told.Scan())
	n, err := c.Receive(soon(t), make([]byte, 1<<16))
	require.NoError(t, err)
	require.Positive(t, n)
	go cmd.Process.Kill()
	_, err = c.Receive(soon(t), nil)
	dead, ok := err.(*shmring.StreamError)
	require.True(t, ok, "%v", err)
	require.Equal(t, cmd.Process.Pid, dead.PID)
}

// A producer that has ended its stream and stays attached is alive: a consumer that
// takes over from a dead one is not alone.
func TestRecoveredMeansAlone(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		p := openProducer(t, &o)
		require.NoError(t, p.Send(soon(t), numbered(0)))
		cmd, told := spawn(t, o.Dir, 0, 0, "consume")
		require.True(t, told.Scan())
		require.NoError(t, cmd.Process.Kill())
		cmd.Wait()
		require.NoError(t, p.CloseSend())
		c := openConsumer(t, &o)
		require.True(t, c.Info().TookOver)
		require.False(t, c.Info().Recovered)
	})
}

// Who waits for a role learns what happened while it waited.
func TestRecoveredWhileWaiting(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), KeepStream: true}
	p := openProducer(t, &o)
	require.NoError(t, p.Send(soon(t), numbered(0)))
	require.NoError(t, p.Close())
	cmd, told := spawn(t, o.Dir, 0, 0, "consume")
	require.True(t, told.Scan())
	opened := make(chan *shmring.Consumer)
	go func() {
		c, err := shmring.OpenConsumer(soon(t), "r", &shmring.Options{Dir: o.Dir, WaitForRole: true})
		if err != nil {
			t.Error(err)
		}
		opened <- c
	}()
	require.Eventually(t, func() bool {
		maps, err := os.ReadFile("/proc/self/maps")
		return err == nil && strings.Contains(string(maps), o.Dir)
	}, 10*time.Second, time.Millisecond)
	time.Sleep(20 * time.Millisecond) // by now it has been refused; if not, this test shows less
	require.NoError(t, cmd.Process.Kill())
	c := <-opened
	require.NotNil(t, c)
	defer c.Close()
	require.True(t, c.Info().TookOver)
	require.True(t, c.Info().Recovered)
}
