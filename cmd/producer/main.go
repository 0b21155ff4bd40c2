package main

import (
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/produce"
)

func main() { cli.Main("producer", produce.Run) }
