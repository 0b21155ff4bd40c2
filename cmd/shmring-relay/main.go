/*
Shmring-relay takes rings from one host to another over NATS JetStream, each message once.

	shmring relay out -ring NAME [-nats URL]
	shmring relay in -ring NAME -stream STREAM [-nats URL]

It is a program and a module of its own, so that nobody who wants rings gets NATS with them; shmring
relay finds it beside itself or in $PATH. shmring relay help out lists the flags, and docs/RELAY.md has the rest.
*/
package main

import "github.com/shmring/shmring/cmd/internal/cli"

func main() { cli.Main("shmring-relay", Run) }
