// Compare measures connections of package shmnet beside Unix sockets and TCP, in one run, turn by
// turn: round trips and streams between two processes, gRPC and HTTP. With -calls it measures calls of
// package shmrpc beside rings alone. With -md it measures all of that, with the two processes free and pinned, and
// writes a page of it.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/shmring/shmring/shmnet"
)

func listen(kind, dir string) (net.Listener, error) {
	switch kind {
	case "shm":
		return shmnet.Listen(filepath.Join(dir, "shm"), config())
	case "unix":
		return net.Listen("unix", filepath.Join(dir, "unix"))
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

func config() *shmnet.Config {
	c := &shmnet.Config{Buffer: *buffer}
	if *sleep {
		c.Wait = shmnet.WaitSleep
	}
	return c
}

func dial(kind, addr string) (net.Conn, error) {
	switch kind {
	case "shm":
		return shmnet.Dial(context.Background(), addr, config())
	case "unix":
		return net.Dial("unix", addr)
	}
	return net.Dial("tcp", addr)
}

var (
	buffer    = flag.Int("buffer", 0, "shmnet.Config.Buffer")
	sleep     = flag.Bool("sleep", false, "shmnet.WaitSleep")
	rounds    = flag.Int("rounds", 5, "how often each is measured, turn by turn")
	perCase   = flag.Duration("for", 200*time.Millisecond, "how long each is measured at one time")
	cases     = flag.String("cases", "", "only those whose name contains this")
	kinds     = flag.String("kinds", "shm,unix,tcp", "which")
	profile   = flag.String("cpuprofile", "", "file for a profile of the client")
	idleConns = flag.Int("idle", 0, "only this: so many connections over which nothing is said")
	calls     = flag.Bool("calls", false, "only this: calls of package shmrpc beside rings alone")
	pin       = flag.Bool("pin", false, "each of the two processes on one processor")
	page      = flag.String("md", "", "measure all, free and pinned, and write this file")
	rowsFile  = flag.String("rows", "", "also write what was measured to this file, as JSON")
	server    = flag.String("server", "", "directory: be the server")
)

func main() {
	flag.Parse()
	bind()
	if *server != "" {
		serve(*server)
		return
	}
	if *page != "" {
		if err := writePage(*page); err != nil {
			log.Fatal(err)
		}
		return
	}
	dir, err := os.MkdirTemp(memory(), "compare")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	defer writeRows()
	args := append([]string{"-server", dir}, os.Args[1:]...)
	cmd := exec.Command(os.Args[0], args...)
	cmd.Stderr = os.Stderr
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		log.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		log.Fatal(err)
	}
	addrs := strings.Fields(line)
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			log.Fatal(err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			log.Fatal(err)
		}
		defer pprof.StopCPUProfile()
	}
	if *idleConns > 0 {
		idle(addrs[:3], cmd.Process.Pid, *idleConns)
		in.Close()
		cmd.Wait()
		return
	}
	if *calls {
		measureCalls(dir, cmd.Process.Pid)
		in.Close()
		cmd.Wait()
		return
	}
	measure(addrs[:3], cmd.Process.Pid)
	measureServices(addrs[3:], cmd.Process.Pid)
	in.Close()
	cmd.Wait()
}

var all = []string{"shm", "unix", "tcp"}

func serve(dir string) {
	var addrs []string
	for _, kind := range all {
		l, err := listen(kind, dir)
		if err != nil {
			log.Fatal(err)
		}
		addrs = append(addrs, l.Addr().String())
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					log.Fatal(err)
				}
				go echo(c)
			}
		}()
	}
	for _, w := range ways {
		if w.serve != nil && *calls {
			w.serve(dir)
		}
	}
	addrs = append(addrs, serveServices(dir)...)
	fmt.Println(strings.Join(addrs, " "))
	io.Copy(io.Discard, os.Stdin)
}

// echo: 8 bytes say the size; an odd bit that nothing comes back but one byte at the end of each.
func echo(c net.Conn) {
	defer c.Close()
	var head [8]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return
	}
	n := 0
	stream := false
	for i, b := range head {
		n |= int(b) << (8 * i)
	}
	if n < 0 {
		n, stream = -n, true
	}
	buf := make([]byte, n)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			return
		}
		answer := buf
		if stream {
			continue
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

func head(n int) []byte {
	var h [8]byte
	for i := range h {
		h[i] = byte(n >> (8 * i))
	}
	return h[:]
}

type figure struct {
	p50, p99 []float64
	rate     []float64
	cpu      []float64
}

func measure(addrs []string, pid int) {
	type job struct {
		name   string
		size   int
		stream bool
		every  time.Duration
	}
	var jobs []job
	for _, n := range []int{32, 4 << 10, 64 << 10} {
		jobs = append(jobs, job{fmt.Sprintf("pingpong %d", n), n, false, 0})
	}
	jobs = append(jobs, job{"slow pingpong 32 every 200us", 32, false, 200 * time.Microsecond})
	for _, n := range []int{64, 1 << 10, 64 << 10, 1 << 20} {
		jobs = append(jobs, job{fmt.Sprintf("stream %d", n), n, true, 0})
	}
	for _, j := range jobs {
		if !strings.Contains(j.name, *cases) {
			continue
		}
		res := map[string]*figure{}
		for round := range *rounds {
			for _, i := range order(round) {
				kind := all[i]
				f := res[kind]
				if f == nil {
					f = &figure{}
					res[kind] = f
				}
				c, err := dial(kind, addrs[i])
				if err != nil {
					log.Fatal(err)
				}
				before := cpuOf(pid) + cpuOf(os.Getpid())
				begin := time.Now()
				n := 0
				if j.stream {
					n = stream(c, j.size)
				} else {
					lat := pingpong(c, j.size, j.every)
					n = len(lat)
					slices.Sort(lat)
					f.p50 = append(f.p50, float64(lat[len(lat)/2])/1e3)
					f.p99 = append(f.p99, float64(lat[len(lat)*99/100])/1e3)
				}
				f.rate = append(f.rate, float64(n)/time.Since(begin).Seconds())
				f.cpu = append(f.cpu, float64(cpuOf(pid)+cpuOf(os.Getpid())-before)/1e3/float64(n))
				c.Close()
			}
		}
		for _, kind := range all {
			f := res[kind]
			if f == nil {
				continue
			}
			r := f.row(j.name, kind)
			fmt.Printf("%-30s %-5s", j.name, kind)
			if !j.stream {
				fmt.Printf(" p50 %s p99 %s", spread(f.p50), spread(f.p99))
			} else {
				r.MBs = r.Rate * float64(j.size) / 1e6
				fmt.Printf(" %8.1f MB/s %9s", r.MBs, "")
			}
			fmt.Printf("  %10.0f/s  cpu %6.2f us\n", r.Rate, r.CPU)
			rows = append(rows, r)
		}
	}
}

// order is which kinds are measured in a round, by their numbers: every other round backwards, because each finds the
// heap and the machine as the one before has left them.
func order(round int) (list []int) {
	for i, kind := range all {
		if strings.Contains(*kinds, kind) {
			list = append(list, i)
		}
	}
	if round%2 == 1 {
		slices.Reverse(list)
	}
	return list
}

// quartiles of the rounds. The second is the median.
func quartiles(v []float64) (q [3]float64) {
	v = slices.Sorted(slices.Values(v))
	for i := range q {
		if len(v) > 0 {
			q[i] = v[len(v)*(i+1)/4]
		}
	}
	return q
}

func med(v []float64) float64 { return quartiles(v)[1] }

// spread shows the median and the quartiles around it.
func spread(v []float64) string {
	q := quartiles(v)
	return fmt.Sprintf("%8.2f [%.2f %.2f] us", q[1], q[0], q[2])
}

func cpuOf(pid int) time.Duration {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/schedstat")
	_ = b
	if pid == os.Getpid() {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	// all threads
	var sum int64
	tasks, _ := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	for _, t := range tasks {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + t.Name() + "/schedstat")
		f := strings.Fields(string(b))
		if len(f) > 0 {
			n, _ := strconv.ParseInt(f[0], 10, 64)
			sum += n
		}
	}
	return time.Duration(sum)
}

func pingpong(c net.Conn, n int, every time.Duration) (lat []time.Duration) {
	c.Write(head(n))
	buf := make([]byte, n)
	for begin := time.Now(); time.Since(begin) < *perCase; {
		t := time.Now()
		if _, err := c.Write(buf); err != nil {
			log.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			log.Fatal(err)
		}
		lat = append(lat, time.Since(t))
		if every > 0 {
			time.Sleep(every)
		}
	}
	return lat
}

func stream(c net.Conn, n int) (sent int) {
	c.Write(head(-n))
	buf := make([]byte, n)
	for begin := time.Now(); time.Since(begin) < *perCase; {
		for range 8 {
			if _, err := c.Write(buf); err != nil {
				log.Fatal(err)
			}
			sent++
		}
	}
	return sent
}
