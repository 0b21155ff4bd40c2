package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// row is what was measured of one work over one kind of connection: medians of the rounds. Times are in microseconds.
type row struct {
	Work, Kind          string
	P50, P99, Rate, CPU float64
	MBs                 float64 // of a stream
}

// rows is all of this run.
var rows []row

func (f *figure) row(work, kind string) row {
	return row{Work: work, Kind: kind, P50: med(f.p50), P99: med(f.p99), Rate: med(f.rate), CPU: med(f.cpu)}
}

func writeRows() {
	if *rowsFile == "" {
		return
	}
	b, err := json.Marshal(rows)
	if err == nil {
		err = os.WriteFile(*rowsFile, b, 0o600)
	}
	if err != nil {
		log.Print(err)
	}
}

// places are where the two processes are.
var places = []string{"free", "pinned"}

// writePage measures all, free and pinned, each by a run of this program, and writes the page.
func writePage(path string) error {
	dir, err := os.MkdirTemp("", "compare")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var all, calls [2][]row
	begin := time.Now()
	for i := range places {
		for _, calling := range []bool{false, true} {
			args := []string{"-rows", filepath.Join(dir, "rows"), "-rounds", fmt.Sprint(*rounds), "-for", perCase.String()}
			to := &all[i]
			if calling {
				args, to = append(args, "-calls"), &calls[i]
			}
			if places[i] == "pinned" {
				args = append(args, "-pin")
			}
			cmd := exec.Command(os.Args[0], args...)
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if err := cmd.Run(); err != nil {
				return err
			}
			b, err := os.ReadFile(filepath.Join(dir, "rows"))
			if err == nil {
				err = json.Unmarshal(b, to)
			}
			if err != nil {
				return err
			}
		}
	}
	var b bytes.Buffer
	intro(&b, begin)
	for i, place := range places {
		section(&b, place, all[i], calls[i])
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

func section(b *bytes.Buffer, place string, all, calls []row) {
	fmt.Fprintf(b, "\n## %s\n", strings.ToUpper(place[:1])+place[1:])
	fmt.Fprint(b, "\n| round trip, bytes | shm p50, p99 | Unix socket | TCP | Unix socket's p50 by shm's |\n"+
		"|---|---:|---:|---:|---:|\n")
	trips(b, all, "pingpong ", "slow pingpong ")
	fmt.Fprint(b, "\n| stream of writes of | shm | Unix socket | TCP |\n|---|---:|---:|---:|\n")
	each(all, "stream ", func(work string, of []row) {
		fmt.Fprintf(b, "| %s bytes |", work)
		for _, r := range of {
			fmt.Fprintf(b, " %.0f MB/s |", r.MBs)
		}
		fmt.Fprintln(b)
	})
	for _, service := range []string{"grpc ", "http "} {
		fmt.Fprintf(b, "\n| %s p50, p99, calls/s, processor time of each | shm | Unix socket | TCP |\n|---|---:|---:|---:|\n",
			map[string]string{"grpc ": "gRPC:", "http ": "HTTP/1.1:"}[service])
		each(all, service, func(work string, of []row) {
			fmt.Fprintf(b, "| %s |", work)
			for _, r := range of {
				fmt.Fprintf(b, " %s, %s, %.0f, %s |", us(r.P50), us(r.P99), r.Rate, us(r.CPU))
			}
			fmt.Fprintln(b)
		})
	}
	for i := 0; i < len(calls); i += len(ways) {
		fmt.Fprintf(b, "\n| %s there and back | p50 | by that of rings | p99 | each second | processor time of each |\n",
			calls[i].Work)
		fmt.Fprintln(b, "|---|---:|---:|---:|---:|---:|")
		for _, r := range calls[i : i+len(ways)] {
			fmt.Fprintf(b, "| %s | %s | %.1f | %s | %.0f | %s |\n", r.Kind, us(r.P50), r.P50/calls[i].P50, us(r.P99), r.Rate,
				us(r.CPU))
		}
	}
}

func trips(b *bytes.Buffer, all []row, kinds ...string) {
	for _, kind := range kinds {
		each(all, kind, func(work string, of []row) {
			fmt.Fprintf(b, "| %s |", work)
			for _, r := range of {
				fmt.Fprintf(b, " %s, %s |", us(r.P50), us(r.P99))
			}
			fmt.Fprintf(b, " %.1f |\n", of[1].P50/of[0].P50)
		})
	}
}

// each calls f with the rows of each work that begins so, one for each kind of connection.
func each(all []row, begins string, f func(work string, of []row)) {
	for i := 0; i+2 < len(all); i += 3 {
		if work, ok := strings.CutPrefix(all[i].Work, begins); ok {
			f(work, all[i:i+3])
		}
	}
}

// us is a time of so many microseconds.
func us(f float64) string {
	switch {
	case f < 10:
		return fmt.Sprintf("%.2f µs", f)
	case f < 1000:
		return fmt.Sprintf("%.0f µs", f)
	}
	return fmt.Sprintf("%.1f ms", f/1000)
}

func intro(b *bytes.Buffer, begin time.Time) {
	model := "unknown processor"
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, text, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(text)
			break
		}
	}
	var u unix.Utsname
	unix.Uname(&u)
	commit, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	fmt.Fprintf(b, `# Connections and calls, measured

<!-- Written by "go run ./compare -md FILE" in examples/services; edit examples/services/compare/page.go. -->

Package shmnet beside Unix sockets and TCP over loopback, and package shmrpc beside rings alone; what they are is in
[CONNECTIONS.md](CONNECTIONS.md). To repeat it, in some minutes:

    cd examples/services && go run ./compare -rounds %d -for %v -md ../../docs/CONNECTIONS-MEASURED.md

%s, %d processors, Linux %s, %s, of commit %s, at %s. Two processes, a client and a server, with default
settings. *Free*: wherever the system puts them; *pinned*: each on a processor of its own, and GOMAXPROCS 1. Every
figure is a median of %[1]d turns of %[2]v each, taken in turn with the others of its line, so what stands in one line
compares; a shared machine changes between lines. The processor time is that of both processes.
`, *rounds, *perCase, model, runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), runtime.Version(),
		strings.TrimSpace(string(commit)), begin.UTC().Format(time.RFC3339))
}
