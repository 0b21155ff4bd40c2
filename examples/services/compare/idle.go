package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// idle opens so many connections over which nothing is said, each with a reader on both sides, and
// tells what they cost the two processes.
func idle(addrs []string, pid, n int) {
	for i, kind := range all {
		if !strings.Contains(*kinds, kind) {
			continue
		}
		conns := make([]net.Conn, n)
		begin := time.Now()
		for j := range conns {
			c, err := dial(kind, addrs[i])
			if err != nil {
				log.Fatal(err)
			}
			conns[j] = c
			go c.Read(make([]byte, 1))
		}
		made := time.Since(begin)
		time.Sleep(500 * time.Millisecond) // what they are made of is done
		const watch = 5 * time.Second
		var before [2]time.Duration
		pids := [2]int{os.Getpid(), pid}
		for k, p := range pids {
			before[k] = cpuOf(p)
		}
		time.Sleep(watch)
		fmt.Printf("idle %d connections, %s: made in %v\n", n, kind, made.Round(time.Millisecond))
		for k, p := range pids {
			cpu := float64(cpuOf(p)-before[k]) / float64(watch) * 100
			fds, _ := os.ReadDir("/proc/" + strconv.Itoa(p) + "/fd")
			fmt.Printf("  %s: cpu %.3f %% of a processor, %s threads, %d descriptors, RSS %s anonymous %s shared\n",
				[]string{"client", "server"}[k], cpu, status(p, "Threads"), len(fds), status(p, "RssAnon"), status(p, "RssShmem"))
		}
		for _, c := range conns {
			c.Close()
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func status(pid int, what string) string {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, what+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "?"
}
