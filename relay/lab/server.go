//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
)

// What -server may be, besides the path of a nats-server.
const (
	embedded = "embedded" // servers are this program, with package embed
	built    = "build"    // nats-server is built, of the version in go.mod
)

// serverPackage is the program of NATS.
const serverPackage = "github.com/nats-io/nats-server/v2"

// findServer returns the path of the nats-server that is asked for; empty: this program is the server.
func findServer(ctx context.Context, server, dir string) (path string, err error) {
	switch server {
	case embedded:
		return "", nil
	case built:
		path = filepath.Join(dir, "nats-server")
		text, err := exec.CommandContext(ctx, "go", "build", "-o", path, serverPackage).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("go build %s, which wants the checkout as its directory: %w\n%s", serverPackage, err, text)
		}
		return path, nil
	}
	return exec.LookPath(server)
}

// serverArgs are the arguments of a nats-server for those of a server of ours: its store, its address, its
// name, its address for the other nodes, and those of all.
func serverArgs(args []string) ([]string, error) {
	host, port, err := net.SplitHostPort(args[1])
	if err != nil {
		return nil, err
	}
	list := []string{"-js", "-sd", args[0], "-a", host, "-p", port, "-n", args[2]}
	if len(args) == 3 {
		return list, nil
	}
	routes := "nats://" + strings.Join(args[4:], ",nats://")
	return append(list, "-cluster_name", "lab", "-cluster", "nats://"+args[3], "-no_advertise", "-routes", routes), nil
}
