// Package watch tells a process that somebody has read a file, or that a file has appeared.
//
// That is how one process wakes another that does not want to spend a thread on
// waiting: the waker reads one byte of a file that both have open, the kernel queues
// an event for those who watch the file (inotify), and the event arrives through the
// runtime's poller, like data on a socket. One goroutine, and no thread while nothing
// happens, serves all watches of the process. Reading leaves no trace in the file; a
// reader who means nothing by it wakes somebody for nothing. In the same way the kernel tells
// when a file of a name has come into being in a directory.
package watch

import "errors"

// ErrUnsupported: this system tells nobody about reads. It matches
// errors.ErrUnsupported.
var ErrUnsupported error = unsupported{}

type unsupported struct{}

func (unsupported) Error() string        { return "watch: not available on this system" }
func (unsupported) Is(target error) bool { return target == errors.ErrUnsupported }
