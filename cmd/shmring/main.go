package main

import (
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/tool"
)

func main() { cli.Main("shmring", tool.Run) }
