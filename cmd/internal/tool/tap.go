package tool

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

const tapHelp = `Usage: shmring tap [flags] NAME

Prints the messages of a ring that is in use, as they are sent. It takes no part: producers
and the consumer do not notice it, and do not wait for it. So it may be too slow, and what
was overwritten before it was read is missed; it says how many messages that were, in a
line of its own where they are missing. It goes on when streams end, until the ring is
removed (code 1), a signal comes (code 0) or a limit is reached. If whoever reads its output
closes that, it ends without a word at the next message (code 1).

Each message is a line: its position, its kind, its length, and its bytes as a quoted
string. With -json each is an object: position, kind, sequence (its number since the ring
was made), missed (how many are missing right before it), bytes, and text, or base64 where
it is no UTF-8; at the end comes one with "end", "messages", and "missed".
`

const tapFlags = observeFlags + `  -hex       show the bytes in hexadecimal, in lines of 16
  -count N   end after so many messages
  -for DURATION
             end after so long
`

// tap is what tap does.
func tap(f *cli.Flags) observing {
	w := &follower{}
	w.register(f)
	w.limits(f)
	dump := false
	f.Bool(&dump, "hex")
	return func(ctx context.Context, args []string, o *shmring.AdminOptions, out output) error {
		if dump && out.asJSON {
			return cli.Usagef("-hex is for people, and -json for programs: give one")
		}
		if err := w.open(ctx, args[0], o); err != nil {
			return notBegun(err)
		}
		defer w.in.Close()
		p := &tapPrinter{w: bufio.NewWriterSize(out.stdout, 64<<10), hex: dump}
		if out.asJSON {
			p.json = json.NewEncoder(p.w)
		}
		why, err := w.follow(ctx, out, p.print, p.w.Flush)
		if err == nil && out.asJSON {
			s := w.in.Stats()
			err = json.NewEncoder(out.stdout).Encode(tapEnd{why, s.Messages, s.Missed})
		}
		if !readerGone(err) {
			out.notice("%s", w.sum())
		}
		return err
	}
}

// notBegun is the error of a command that a signal ended before it had begun: none.
func notBegun(err error) error {
	if errors.Is(err, errNotBegun) {
		return nil
	}
	return err
}

// tapped is a message in JSON.
type tapped struct {
	Position string  `json:"position"`
	Kind     uint16  `json:"kind"`
	Sequence uint64  `json:"sequence"`
	Missed   uint64  `json:"missed"`
	Bytes    int     `json:"bytes"`
	Text     *string `json:"text,omitempty"`
	Base64   []byte  `json:"base64,omitempty"`
}

// tapEnd is the last line of JSON.
type tapEnd struct {
	End      string `json:"end"` // "signal", or the flag that ended it
	Messages uint64 `json:"messages"`
	Missed   uint64 `json:"missed"`
}

type tapPrinter struct {
	w    *bufio.Writer
	json *json.Encoder // nil: for people
	hex  bool
}

func (p *tapPrinter) print(m shmring.Observed) (err error) {
	if p.json != nil {
		t := tapped{m.Position.String(), m.Kind, m.Sequence, m.Missed, len(m.Bytes), nil, m.Bytes}
		if utf8.Valid(m.Bytes) {
			text := string(m.Bytes)
			t.Text, t.Base64 = &text, nil
		}
		return p.json.Encode(t)
	}
	if m.Missed > 0 {
		fmt.Fprintf(p.w, "# missed %d messages\n", m.Missed)
	}
	_, err = fmt.Fprintf(p.w, "%v kind %d, %d bytes", m.Position, m.Kind, len(m.Bytes))
	switch {
	case err != nil:
	case p.hex:
		_, err = p.w.WriteString("\n" + indented(hex.Dump(m.Bytes)))
	default:
		_, err = p.w.WriteString(": " + strconv.Quote(string(m.Bytes)) + "\n")
	}
	return err
}

func indented(text string) (b string) {
	for line := range strings.Lines(text) {
		b += "  " + line
	}
	return b
}
