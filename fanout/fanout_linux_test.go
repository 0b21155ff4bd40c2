package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fanout"
	"github.com/shmring/shmring/shm"
)

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// rig is a FanOut with rings of its own.
type rig struct {
	t   *testing.T
	dir string
	f   *fanout.FanOut
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, dir: t.TempDir(), f: fanout.New()}
	hangs := time.AfterFunc(time.Minute, func() { panic("the test hangs") })
	t.Cleanup(func() {
		hangs.Stop()
		require.NoError(t, r.f.Close())
		require.NoError(t, r.f.Close(), "again")
		files, err := os.ReadDir(r.dir)
		require.NoError(t, err)
		for _, file := range files {
			if name, is := strings.CutSuffix(file.Name(), ".shmring"); is {
				require.NoError(t, shmring.Remove(soon(t), name, &shmring.AdminOptions{Dir: r.dir}), name)
			}
		}
	})
	return r
}

// add adds a ring of a few small messages.
func (r *rig) add(target fanout.Target, o shmring.Options) {
	r.t.Helper()
	o.Dir, o.Slots, o.SlotSize = r.dir, 8, shmring.NoPayload
	if o.MaxMessage == 0 {
		o.MaxMessage = 48
	}
	p, err := shmring.OpenProducer(soon(r.t), target.Name, &o)
	require.NoError(r.t, err)
	target.Producer = p
	require.NoError(r.t, r.f.Add(target))
}

func (r *rig) consumer(name string) *shmring.Consumer {
	r.t.Helper()
	c, err := shmring.OpenConsumer(soon(r.t), name, &shmring.Options{Dir: r.dir})
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, c.Close()) })
	return c
}

// send sends numbers.
func (r *rig) send(from, to int) {
	r.t.Helper()
	for i := from; i < to; i++ {
		require.NoError(r.t, r.f.SendKind(soon(r.t), fmt.Append(nil, i), uint16(i)), i)
	}
}

// gets receives numbers.
func (r *rig) gets(c *shmring.Consumer, from, to int) {
	r.t.Helper()
	for i := from; i < to; i++ {
		m, err := c.Next(soon(r.t))
		require.NoError(r.t, err, i)
		require.Equal(r.t, fmt.Sprint(i), string(m.Bytes()))
		m.Release()
	}
}

// ends requires how a stream ends.
func (r *rig) ends(c *shmring.Consumer, want error) {
	r.t.Helper()
	_, err := c.Next(soon(r.t))
	require.ErrorIs(r.t, err, want)
}

func (r *rig) stats(name string) fanout.Stats {
	r.t.Helper()
	for _, s := range r.f.Stats() {
		if s.Name == name {
			return s
		}
	}
	r.t.Fatalf("no target %s", name)
	return fanout.Stats{}
}

// fill sends numbers until a target has no room. n are taken, of which one may wait for some targets. Rings have
// room for more where a consumer does not wait.
func (r *rig) fill() (n int, err error) {
	for ; ; n++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		err := r.f.SendKind(ctx, fmt.Append(nil, n), uint16(n))
		cancel()
		if _, partial := errors.AsType[*fanout.PartialError](err); partial {
			return n + 1, err
		}
		if err != nil {
			return n, err
		}
	}
}

func TestAllGetAll(t *testing.T) {
	r := newRig(t)
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
		r.add(fanout.Target{Name: kind.String()}, shmring.Options{Kind: kind})
	}
	require.Equal(t, 2, r.f.Len())
	var all sync.WaitGroup
	for _, name := range []string{"spsc", "mpsc"} {
		c := r.consumer(name)
		all.Go(func() {
			for i := range 2000 {
				m, err := c.Next(soon(t))
				if err != nil || string(m.Bytes()) != fmt.Sprint(i) || i < 1000 && m.Kind() != uint16(i) {
					t.Errorf("%s: message %d: %q, kind %d, %v", name, i, m.Bytes(), m.Kind(), err)
					return
				}
				m.Release()
			}
			m, err := c.Next(soon(t))
			if err != nil || m.Len() != 0 {
				t.Errorf("the empty message is %d bytes, %v", m.Len(), err)
			}
			m.Release()
			if _, err := c.Next(soon(t)); err != io.EOF {
				t.Errorf("the end is %v", err)
			}
		})
	}
	r.send(0, 1000)
	for i := 1000; i < 2000; i += 50 {
		var batch [][]byte
		for j := range 50 {
			batch = append(batch, fmt.Append(nil, i+j))
		}
		require.NoError(t, r.f.SendBatch(soon(t), batch))
	}
	require.NoError(t, r.f.Send(soon(t), nil))
	require.NoError(t, r.f.SendBatch(soon(t), nil))
	require.EqualValues(t, 2001, r.stats("spsc").Messages)
	require.NoError(t, r.f.Close())
	all.Wait()
	require.ErrorIs(t, r.f.Send(soon(t), nil), shmring.ErrClosed)
	require.ErrorIs(t, r.f.Flush(soon(t)), shmring.ErrClosed)
	require.ErrorIs(t, r.f.Add(fanout.Target{Name: "x", Producer: new(shmring.Producer)}), shmring.ErrClosed)
}

func TestNothingIsTakenThatNobodyCanHave(t *testing.T) {
	r := newRig(t)
	require.Equal(t, fanout.ErrNoTargets, r.f.Send(soon(t), nil))
	require.Zero(t, r.f.MaxMessage())
	r.add(fanout.Target{Name: "a"}, shmring.Options{MaxMessage: 40})
	r.add(fanout.Target{Name: "b"}, shmring.Options{MaxMessage: 41})
	require.Equal(t, 40, r.f.MaxMessage())
	err := r.f.Send(soon(t), make([]byte, 41))
	large, ok := errors.AsType[*shmring.SizeError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, shmring.SizeError{Ring: "a", Size: 41, Max: 40}, *large)
	require.ErrorIs(t, r.f.SendBatch(soon(t), [][]byte{nil, make([]byte, 41)}), shmring.ErrTooLarge)
	require.NoError(t, r.f.Send(soon(t), make([]byte, 40)))
	done, cancel := context.WithCancelCause(context.Background())
	cancel(io.ErrNoProgress)
	require.ErrorIs(t, r.f.Send(done, nil), io.ErrNoProgress)
	require.EqualValues(t, 1, r.stats("b").Messages)

	known, err := r.f.Remove("a")
	require.True(t, known)
	require.NoError(t, err)
	require.NoError(t, r.f.Send(soon(t), make([]byte, 41)), "a held it up")
	known, _ = r.f.Remove("a")
	require.False(t, known)
}

// Who has no room holds up the next message and not this one; what was taken when the context ended comes once.
func TestContextThatEnds(t *testing.T) {
	r := newRig(t)
	r.add(fanout.Target{Name: "slow"}, shmring.Options{})
	_, err := r.fill()
	_, partial := errors.AsType[*fanout.PartialError](err)
	require.False(t, partial, "nobody has it: %v", err)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	slow := r.consumer("slow")
	r.add(fanout.Target{Name: "fast"}, shmring.Options{})
	fast := r.consumer("fast")

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	msg := []byte("0")
	err = r.f.Send(ctx, msg)
	p, partial := errors.AsType[*fanout.PartialError](err)
	require.True(t, partial, "%v", err)
	require.Equal(t, []string{"slow"}, p.Waiting)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.ErrorContains(t, err, "do not send it again")
	msg[0] = 'x' // it was copied
	require.True(t, r.stats("slow").Waiting)
	require.False(t, r.stats("fast").Waiting)
	r.gets(fast, 0, 1)

	// The next one is not taken while the last one waits.
	err = r.f.Send(ctx, nil)
	_, partial = errors.AsType[*fanout.PartialError](err)
	require.False(t, partial)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	_, partial = errors.AsType[*fanout.PartialError](r.f.Flush(ctx))
	require.True(t, partial)

	before := int(r.stats("slow").Messages)
	flushed := make(chan error, 1)
	go func() { flushed <- r.f.Flush(soon(t)) }()
	r.gets(slow, 0, before)
	r.gets(slow, 0, 1)
	require.NoError(t, <-flushed)
	require.False(t, r.stats("slow").Waiting)
	require.NoError(t, r.f.Flush(soon(t)), "nothing to do")
	var all sync.WaitGroup
	all.Go(func() { r.send(1, 50) })
	all.Go(func() { r.gets(fast, 1, 50) })
	r.gets(slow, 1, 50)
	all.Wait()
	require.NoError(t, r.f.Close())
	r.ends(slow, io.EOF)
	r.ends(fast, io.EOF)
}

// A batch that is cut short is taken as a whole.
func TestBatchThatIsCutShort(t *testing.T) {
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
		r := newRig(t)
		r.add(fanout.Target{Name: "a"}, shmring.Options{Kind: kind})
		a := r.consumer("a")
		var batch [][]byte
		for i := range 500 {
			batch = append(batch, fmt.Append(nil, i))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		err := r.f.SendBatch(ctx, batch)
		cancel()
		_, partial := errors.AsType[*fanout.PartialError](err)
		require.True(t, partial, "%v", err)
		var all sync.WaitGroup
		all.Go(func() { r.gets(a, 0, 510) })
		r.send(500, 510)
		all.Wait()
		require.EqualValues(t, 510, r.stats("a").Messages)
	}
}

func TestWhoWaitsAtCloseIsToldThatItIsNotTheWhole(t *testing.T) {
	for _, remove := range []bool{false, true} {
		r := newRig(t)
		r.add(fanout.Target{Name: "slow"}, shmring.Options{})
		room, _ := r.fill()
		r.add(fanout.Target{Name: "fast"}, shmring.Options{})
		n, err := r.fill()
		require.Equal(t, 1, n)
		require.ErrorContains(t, err, "kept for slow")
		if remove {
			_, err = r.f.Remove("slow")
			require.NoError(t, err)
			require.NoError(t, r.f.Flush(soon(t)), "nobody waits any more")
		}
		require.NoError(t, r.f.Close())
		slow, fast := r.consumer("slow"), r.consumer("fast")
		r.gets(slow, 0, room)
		r.ends(slow, shmring.ErrFailed)
		r.gets(fast, 0, 1)
		r.ends(fast, io.EOF)
	}
}

func TestDropAndDisconnect(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Millisecond} {
		r := newRig(t)
		var gone []string
		r.f.OnGone = func(name string, why error) { gone = append(gone, name); require.ErrorIs(t, why, shmring.ErrFull) }
		r.add(fanout.Target{Name: "all"}, shmring.Options{})
		r.add(fanout.Target{Name: "drop", Policy: fanout.Drop, Wait: wait}, shmring.Options{})
		r.add(fanout.Target{Name: "cut", Policy: fanout.Disconnect, Wait: wait}, shmring.Options{})
		all, drop, cut := r.consumer("all"), r.consumer("drop"), r.consumer("cut")
		for i := range 100 {
			r.send(i, i+1)
			r.gets(all, i, i+1)
		}
		s := r.stats("drop")
		require.EqualValues(t, 100, s.Messages+s.Dropped)
		require.Positive(t, s.Dropped)
		require.Equal(t, s.Dropped, s.Ring.Dropped)
		require.NoError(t, s.Gone)
		room := int(s.Messages)
		r.gets(drop, 0, room)
		r.send(100, 101)
		r.gets(drop, 100, 101)
		r.gets(all, 100, 101)

		require.Equal(t, []string{"cut"}, gone)
		require.ErrorIs(t, r.stats("cut").Gone, shmring.ErrFull)
		require.Equal(t, 2, r.f.Len())
		r.gets(cut, 0, room)
		r.ends(cut, shmring.ErrFailed)
		r.add(fanout.Target{Name: "cut"}, shmring.Options{}) // and is back
		r.send(101, 102)
		r.gets(cut, 101, 102)
		r.gets(all, 101, 102)
		r.gets(drop, 101, 102)
	}
}

// Remove ends a send that waits for the target, and so does Close. Others do not wait for it.
func TestRemoveEndsAWait(t *testing.T) {
	for _, ctx := range []context.Context{context.Background(), soon(t)} {
		r := newRig(t)
		r.add(fanout.Target{Name: "dead"}, shmring.Options{})
		r.add(fanout.Target{Name: "dead-too"}, shmring.Options{})
		room, _ := r.fill()
		r.add(fanout.Target{Name: "alive"}, shmring.Options{})
		alive := r.consumer("alive")
		sent := make(chan error, 1)
		go func() { sent <- r.f.Send(ctx, []byte("0")) }()
		r.gets(alive, 0, 1)
		require.Panics(t, func() { r.f.Send(ctx, nil) }, "two at a time")
		for _, name := range []string{"dead", "dead-too"} {
			known, err := r.f.Remove(name)
			require.True(t, known)
			require.NoError(t, err)
		}
		require.NoError(t, <-sent)
		dead := r.consumer("dead")
		r.gets(dead, 0, room)
		r.ends(dead, io.EOF)

		go func() {
			var err error
			for err == nil {
				err = r.f.Send(ctx, []byte("1"))
			}
			sent <- err
		}()
		m, err := alive.Next(soon(t))
		require.NoError(t, err)
		require.Equal(t, "1", string(m.Bytes()))
		require.NoError(t, r.f.Close())
		require.ErrorIs(t, <-sent, shmring.ErrClosed)
	}
}

// Targets come and go, and are asked about, while messages are sent. Who stays gets all of them, and who comes gets
// those of the sends that begin after Add, up to Remove.
func TestTargetsThatComeAndGo(t *testing.T) {
	r := newRig(t)
	r.add(fanout.Target{Name: "stays"}, shmring.Options{})
	stays, all, sent := r.consumer("stays"), sync.WaitGroup{}, make(chan struct{})
	all.Go(func() {
		defer close(sent)
		for i := range 3000 {
			if err := r.f.Send(soon(t), fmt.Append(nil, i)); err != nil {
				t.Errorf("message %d: %v", i, err)
				return
			}
		}
	})
	all.Go(func() {
		for round := 0; ; round++ {
			select {
			case <-sent:
				return
			default:
			}
			p, err := shmring.OpenProducer(soon(t), "guest", &shmring.Options{Dir: r.dir, MaxMessage: 48})
			if err == nil {
				err = r.f.Add(fanout.Target{Name: "guest", Producer: p})
			}
			if err == nil && (r.f.Len() != 2 || len(r.f.Stats()) != 2) {
				err = errors.New("the guest is not there")
			}
			if _, removed := r.f.Remove("guest"); err == nil {
				err = removed
			}
			if err != nil {
				t.Errorf("round %d: %v", round, err)
				return
			}
			shmring.Remove(soon(t), "guest", &shmring.AdminOptions{Dir: r.dir})
		}
	})
	r.gets(stays, 0, 3000)
	all.Wait()
}

func TestTargetThatBreaks(t *testing.T) {
	r := newRig(t)
	gone := 0
	r.f.OnGone = func(string, error) { gone++ }
	r.add(fanout.Target{Name: "a"}, shmring.Options{})
	r.add(fanout.Target{Name: "b"}, shmring.Options{})
	r.add(fanout.Target{Name: "c", Policy: fanout.Drop}, shmring.Options{})
	a := r.consumer("a")
	r.send(0, 1)
	for _, name := range []string{"b", "c"} {
		p := producerOf(t, r, name)
		require.NoError(t, p.CloseSend()) // as if its ring were of no use
	}
	err := r.f.Send(soon(t), []byte("1"))
	lost, ok := errors.AsType[*fanout.LostError](err)
	require.True(t, ok, "%v", err)
	require.Len(t, lost.Lost, 1)
	require.Equal(t, "b", lost.Lost[0].Name)
	require.ErrorIs(t, err, shmring.ErrEnded)
	require.Equal(t, 2, gone)
	r.send(2, 3)
	r.gets(a, 0, 3)
	require.Equal(t, 1, r.f.Len())

	producerOf(t, r, "a").Close()
	err = r.f.Send(soon(t), nil)
	require.ErrorIs(t, err, shmring.ErrClosed)
	_, ok = errors.AsType[*fanout.LostError](err)
	require.True(t, ok, "it is not the FanOut that is closed: %v", err)
	require.Equal(t, fanout.ErrNoTargets, r.f.Send(soon(t), nil))
}

// producerOf is the producer that was added, behind the FanOut's back.
func producerOf(t *testing.T, r *rig, name string) *shmring.Producer {
	t.Helper()
	p := fanout.ProducerOf(r.f, name)
	require.NotNil(t, p)
	return p
}

func TestNobodyThere(t *testing.T) {
	r := newRig(t)
	failing := shmring.Options{NoPeer: shmring.NoPeerFail}
	r.add(fanout.Target{Name: "drop", Policy: fanout.Drop, Wait: time.Hour}, failing)
	r.add(fanout.Target{Name: "cut", Policy: fanout.Disconnect}, failing)
	r.add(fanout.Target{Name: "block"}, failing)
	err := r.f.Send(soon(t), nil)
	require.ErrorIs(t, err, shmring.ErrNoPeer)
	require.ErrorContains(t, err, "block")
	require.EqualValues(t, 1, r.stats("drop").Dropped)
	require.ErrorIs(t, r.stats("cut").Gone, shmring.ErrNoPeer)
	require.Equal(t, 1, r.f.Len())
}

func TestFailSend(t *testing.T) {
	r := newRig(t)
	r.add(fanout.Target{Name: "a"}, shmring.Options{})
	a := r.consumer("a")
	r.send(0, 3)
	require.NoError(t, r.f.FailSend())
	r.gets(a, 0, 3)
	r.ends(a, shmring.ErrFailed)
	require.Equal(t, fanout.ErrNoTargets, r.f.Send(soon(t), nil))
}

func TestMisuse(t *testing.T) {
	r := newRig(t)
	for _, bad := range []fanout.Target{{}, {Producer: new(shmring.Producer), Policy: 3},
		{Producer: new(shmring.Producer), Policy: -1}, {Producer: new(shmring.Producer), Wait: -1}} {
		require.Panics(t, func() { r.f.Add(bad) })
	}
	r.add(fanout.Target{Name: "a"}, shmring.Options{})
	require.ErrorIs(t, r.f.Add(fanout.Target{Name: "a", Producer: producerOf(t, r, "a")}),
		fanout.ErrExists)
	for p := fanout.Block; p <= fanout.Disconnect; p++ {
		back, err := fanout.ParsePolicy(p.String())
		require.NoError(t, err)
		require.Equal(t, p, back)
	}
	_, err := fanout.ParsePolicy("lose")
	require.ErrorContains(t, err, "want block, drop or disconnect")
	require.Equal(t, "policy(7)", fanout.Policy(7).String())
}

func TestSendAllocatesNothing(t *testing.T) {
	r := newRig(t)
	r.add(fanout.Target{Name: "a"}, shmring.Options{})
	r.add(fanout.Target{Name: "b", Policy: fanout.Drop}, shmring.Options{})
	a, ctx, msg, buf := r.consumer("a"), soon(t), []byte("hello"), make([]byte, 64)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if err := r.f.Send(ctx, msg); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Receive(ctx, buf); err != nil {
			t.Fatal(err)
		}
	}))
}

// What it costs to send to several rings, their consumers included, in one goroutine.
func BenchmarkSend(b *testing.B) {
	dir, err := os.MkdirTemp(shm.DefaultDir, "shmring-fanout-")
	require.NoError(b, err)
	defer os.RemoveAll(dir)
	for _, n := range []int{0, 1, 2, 4} {
		b.Run(fmt.Sprintf("targets=%d", n), func(b *testing.B) {
			ctx, msg, f := context.Background(), make([]byte, 32), fanout.New()
			var consumers []*shmring.Consumer
			send := f.Send
			for i := range max(n, 1) {
				o, name := &shmring.Options{Dir: dir, Prefault: true}, fmt.Sprint("r", i)
				p, err := shmring.OpenProducer(ctx, name, o)
				require.NoError(b, err)
				c, err := shmring.OpenConsumer(ctx, name, o)
				require.NoError(b, err)
				defer shmring.Remove(ctx, name, &shmring.AdminOptions{Dir: dir})
				defer c.Close()
				consumers = append(consumers, c)
				if n == 0 { // a producer without a FanOut
					send = p.Send
					defer p.Close()
					continue
				}
				require.NoError(b, f.Add(fanout.Target{Name: name, Producer: p}))
			}
			defer f.Close()
			for i := 0; b.Loop(); i++ {
				if err := send(ctx, msg); err != nil {
					b.Fatal(err)
				}
				if i%64 == 63 {
					for _, c := range consumers {
						if _, err := c.TryDrain(0, func(shmring.Message) error { return nil }); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
		})
	}
}
