package tool

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a screen that we have for ourselves: the other one, which leaves what the user had
// before. Keys are read as they are typed; Ctrl-C is a signal as ever.
type terminal struct {
	w    io.Writer
	keys *os.File // or nil: there are none
	was  *unix.Termios
}

const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	homeCursor  = "\x1b[H"
	clearRest   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// takeScreen takes the screen behind w.
func takeScreen(w io.Writer) (screen, error) {
	t := &terminal{w: w}
	if keys, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0); err == nil {
		t.keys = keys
		if was, err := unix.IoctlGetTermios(int(keys.Fd()), unix.TCGETS); err == nil {
			now := *was
			now.Lflag &^= unix.ICANON | unix.ECHO
			now.Cc[unix.VMIN], now.Cc[unix.VTIME] = 1, 0
			if unix.IoctlSetTermios(int(keys.Fd()), unix.TCSETS, &now) == nil {
				t.was = was
			}
		}
	}
	_, err := io.WriteString(w, enterScreen)
	if err != nil {
		err = errors.Join(err, t.close())
	}
	return t, err
}

// show draws over what was there, so that nothing flickers.
func (t *terminal) show(text string) error {
	width, height := 80, 24
	if f, ok := t.w.(interface{ Fd() uintptr }); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 && size.Row > 0 {
			width, height = int(size.Col), int(size.Row)
		}
	}
	lines := strings.Join(frame(text+"\nq: quit\n", width, height), clearRest+"\r\n")
	_, err := io.WriteString(t.w, homeCursor+lines+clearRest+clearBelow)
	return err
}

// keyPoll is how long the end of ctx may take to be seen.
const keyPoll = 50 * time.Millisecond

func (t *terminal) pause(ctx context.Context, d time.Duration) bool {
	if t.keys == nil {
		return (&paper{}).pause(ctx, d)
	}
	for end := time.Now().Add(d); ctx.Err() == nil; {
		left := min(max(time.Until(end), 0), keyPoll)
		fds := []unix.PollFd{{Fd: int32(t.keys.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return (&paper{}).pause(ctx, time.Until(end))
		}
		if n > 0 {
			var key [16]byte
			n, err := t.keys.Read(key[:])
			if err != nil || strings.ContainsAny(string(key[:n]), "qQ\x04") {
				return true // no terminal any more, or no more of it
			}
		}
		if time.Until(end) <= 0 {
			return false
		}
	}
	return true
}

// close gives the screen back.
func (t *terminal) close() error {
	_, err := io.WriteString(t.w, leaveScreen)
	if t.keys != nil {
		if t.was != nil {
			err = errors.Join(err, unix.IoctlSetTermios(int(t.keys.Fd()), unix.TCSETS, t.was))
		}
		err = errors.Join(err, t.keys.Close())
	}
	return err
}
