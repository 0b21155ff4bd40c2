package handover

import (
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// Peer returns whose the other end of a connection is.
func Peer(conn *net.UnixConn) (c Credentials, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return c, err
	}
	var cred *unix.Ucred
	var refused error
	if err := raw.Control(func(fd uintptr) {
		cred, refused = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return c, err
	}
	if refused != nil {
		return c, fmt.Errorf("SO_PEERCRED: %w", refused)
	}
	return Credentials{int(cred.Pid), int(cred.Uid), int(cred.Gid)}, nil
}

// Send sends a frame, and with its first byte the descriptors, which stay the caller's. The
// connection's deadline bounds it.
func Send(conn *net.UnixConn, f Frame, files ...int) error {
	f.Files = len(files)
	b := f.encode()
	var rights []byte
	if len(files) > 0 {
		rights = unix.UnixRights(files...)
	}
	for len(b) > 0 {
		n, _, err := conn.WriteMsgUnix(b, rights, nil)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		b, rights = b[n:], nil // the kernel has taken the descriptors with the first byte
	}
	return nil
}

// Receive reads a frame of that kind and the descriptors that come with it, which are the
// caller's then; they are closed in children. After an error there are none: whatever came
// was closed. The connection's deadline bounds it. Errors: io.EOF, io.ErrUnexpectedEOF (the
// peer closed it before, or within), ErrFrame, ErrVersion, ErrFiles, those of the socket.
func Receive(conn *net.UnixConn, want Kind) (f Frame, files []int, err error) {
	defer func() {
		if err != nil {
			Close(files)
			files = nil
		}
	}()
	var b [Size]byte
	// More than fit in here the kernel closes, and says so.
	oob := make([]byte, unix.CmsgSpace(4*MaxFiles))
	for n := 0; n < Size; {
		got, control, flags, _, err := conn.ReadMsgUnix(b[n:], oob)
		if err != nil && !errors.Is(err, io.EOF) {
			return f, files, err
		}
		came, err := filesOf(oob[:control])
		files = append(files, came...)
		switch {
		case err != nil:
			return f, files, err
		case flags&unix.MSG_CTRUNC != 0:
			return f, files, fmt.Errorf("%w: more than %d came at once", ErrFiles, MaxFiles)
		case len(files) > MaxFiles:
			return f, files, fmt.Errorf("%w: %d came, at most %d can be", ErrFiles, len(files), MaxFiles)
		case got == 0 && n == 0:
			return f, files, io.EOF
		case got == 0:
			return f, files, fmt.Errorf("%d of %d bytes came: %w", n, Size, io.ErrUnexpectedEOF)
		}
		n += got
	}
	if f, err = decode(b[:], want); err != nil {
		return f, files, err
	}
	if len(files) != f.Files {
		return f, files, fmt.Errorf("%w: %d came, %d were promised", ErrFiles, len(files), f.Files)
	}
	return f, files, nil
}

// filesOf returns all descriptors in a control message, also with an error.
func filesOf(oob []byte) (files []int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("%w: control message: %w", ErrFrame, err)
	}
	for i := range messages {
		if messages[i].Header.Type == unix.SCM_CREDENTIALS {
			continue // the socket's owner has asked for them
		}
		came, refused := unix.ParseUnixRights(&messages[i])
		files = append(files, came...)
		if refused != nil && err == nil {
			err = fmt.Errorf("%w: a control message of type %d", ErrFrame, messages[i].Header.Type)
		}
	}
	return files, err
}

// Close closes descriptors.
func Close(files []int) {
	for _, fd := range files {
		_ = unix.Close(fd)
	}
}
