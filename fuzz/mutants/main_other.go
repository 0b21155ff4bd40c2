//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "mutants: the laboratories run on Linux only")
	os.Exit(2)
}
