//go:build !linux

package handover

import "net"

// Peer reports ErrUnsupported.
func Peer(*net.UnixConn) (Credentials, error) { return Credentials{}, ErrUnsupported }

// Send reports ErrUnsupported.
func Send(*net.UnixConn, Frame, ...int) error { return ErrUnsupported }

// Receive reports ErrUnsupported.
func Receive(*net.UnixConn, Kind) (Frame, []int, error) { return Frame{}, nil, ErrUnsupported }

// Close does nothing.
func Close([]int) {}
