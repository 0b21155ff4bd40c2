//go:build !unix

package tool

import "io"

// stops hears of nothing: there is no such signal.
type stops struct{}

func stopsByOthers(func()) *stops { return &stops{} }

func (s *stops) done() {}

func canStop() bool { return false }

// stopped does nothing.
type stopped struct{}

func (stopped) Run() error          { return nil }
func (stopped) SetStdin(io.Reader)  {}
func (stopped) SetStdout(io.Writer) {}
func (stopped) SetStderr(io.Writer) {}
