//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// hosts are network namespaces, each with a link to the same wire and with nothing else: what is in one
// reaches what is in another only over that. They have no names. Each is kept by our descriptor and by the processes in
// it, which die with us; so nothing is left of them, however this process ends.
type hosts struct {
	list []*host
	wire *wire
}

// host is one of them.
type host struct {
	name string
	ns   *os.File
}

// errNotPermitted: what makes a host is not allowed here, or this kernel does not have it.
var errNotPermitted = errors.New("hosts as network namespaces are not possible here: " +
	"they want CAP_SYS_ADMIN and CAP_NET_ADMIN (root has them) and /dev/net/tun")

const (
	linkName = "wire"
	linkMTU  = 1500
	clients  = 4222 // the ports of a server, which has a host's ports to itself
	routes   = 6222
)

// hostAddress is the address of host i.
func hostAddress(i int) [4]byte { return [4]byte{10, 77, 0, byte(i + 1)} }

func addressOf(i, port int) string {
	a := hostAddress(i)
	return fmt.Sprintf("%s:%d", net.IP(a[:]), port)
}

// newHosts makes them, and the wire between them. Errors: errNotPermitted, with the reason.
func newHosts(names []string, l link, seed uint64) (*hosts, error) {
	h := &hosts{wire: &wire{link: l, seed: seed}}
	for i, name := range names {
		ns, tun, err := newHost(i)
		if err != nil {
			h.close()
			for _, why := range []error{unix.EPERM, unix.EACCES, unix.ENOSYS, unix.ENODEV, unix.ENOENT, fs.ErrNotExist} {
				if errors.Is(err, why) {
					return nil, fmt.Errorf("%w: %w", errNotPermitted, err)
				}
			}
			return nil, err
		}
		h.list = append(h.list, &host{name, ns})
		h.wire.add(tun)
	}
	h.wire.start()
	return h, nil
}

func newHost(i int) (ns, tun *os.File, err error) {
	err = elsewhere(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
		if ns, err = os.Open(ownNamespace); err != nil {
			return err
		}
		if tun, err = newLink(hostAddress(i)); err != nil {
			ns.Close()
		}
		return err
	})
	return ns, tun, err
}

// ownNamespace is the one of the calling thread.
const ownNamespace = "/proc/thread-self/ns/net"

// elsewhere calls enter, which puts the calling thread into another network namespace, then do, and takes the thread
// back. A thread that cannot be taken back ends.
func elsewhere(enter, do func() error) error {
	runtime.LockOSThread()
	back, err := os.Open(ownNamespace)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer back.Close()
	if err := enter(); err != nil {
		runtime.UnlockOSThread()
		return os.NewSyscallError("enter a network namespace", err)
	}
	err = do()
	if err := unix.Setns(int(back.Fd()), unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("setns", err) // locked: the thread is not used for anything else
	}
	runtime.UnlockOSThread()
	return err
}

// in calls do in the host's namespace.
func (h *host) in(do func() error) error {
	return elsewhere(func() error { return unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET) }, do)
}

// start starts a process in the host.
func (h *host) start(cmd *exec.Cmd) error { return h.in(cmd.Start) }

// Dial connects to an address, which is no name, from the host. (nats.CustomDialer)
func (h *host) Dial(network, address string) (c net.Conn, err error) {
	err = h.in(func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var d net.Dialer // to one address it makes its socket in this thread
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// newLink makes the end of the wire in the calling thread's namespace. What is sent to another address of the
// wire is read from the file, packet by packet. The link is gone when the file is closed.
func newLink(address [4]byte) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = setUp(fd, socket, address)
		unix.Close(socket)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("link of a host: %w", err)
	}
	return os.NewFile(uintptr(fd), "tun"), nil
}

func setUp(tun, socket int, address [4]byte) error {
	for _, step := range []struct {
		fd      int
		request uint
		name    string
		set     func(*unix.Ifreq) error
	}{
		{socket, unix.SIOCSIFFLAGS, "lo", flags(unix.IFF_UP)},
		{tun, unix.TUNSETIFF, linkName, flags(unix.IFF_TUN | unix.IFF_NO_PI)},
		{socket, unix.SIOCSIFADDR, linkName, inet4(address)},
		{socket, unix.SIOCSIFNETMASK, linkName, inet4([4]byte{255, 255, 255, 0})},
		{socket, unix.SIOCSIFMTU, linkName, func(r *unix.Ifreq) error { r.SetUint32(linkMTU); return nil }},
		{socket, unix.SIOCSIFFLAGS, linkName, flags(unix.IFF_UP)},
	} {
		r, err := unix.NewIfreq(step.name)
		if err == nil {
			err = step.set(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(step.fd, step.request, r)
		}
		if err != nil {
			return fmt.Errorf("ioctl %#x on %s: %w", step.request, step.name, err)
		}
	}
	return nil
}

func flags(f uint16) func(*unix.Ifreq) error {
	return func(r *unix.Ifreq) error { r.SetUint16(f); return nil }
}

func inet4(a [4]byte) func(*unix.Ifreq) error {
	return func(r *unix.Ifreq) error { return r.SetInet4Addr(a[:]) }
}

// close takes the links away. Of processes that are in a host still, the connections break.
func (h *hosts) close() {
	h.wire.close()
	for _, one := range h.list {
		one.ns.Close()
	}
}
