package main

import (
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/consume"
)

func main() { cli.Main("consumer", consume.Run) }
