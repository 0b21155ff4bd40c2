package tool

import (
	"context"
	"errors"
	"fmt"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

const resizeHelp = `Usage: shmring resize [flags] NAME

Makes the ring anew with another geometry, if no process has it open (else code 7). All
that is in it stays in it, in order: messages that wait for a consumer, which of them were
seen, and how streams ended that no consumer was told of. What is not given stays as it is.
If that does not fit (code 1), or there is no memory for both rings until the new one takes
the place of the old one, the ring stays as it was. A ring that has that geometry already is
left alone, also while it is in use.

Producers and consumers that insist on the old geometry are refused afterwards.
`

const resizeFlags = `  -slots N   how many messages of up to max(48, -slot-size) bytes fit, a power of two
  -slot-size BYTES
             a multiple of 64; 0: no message is longer than 48 bytes
  -max-message BYTES
             the longest message, at most 4095 slots
  -max-producers N
             of an mpsc ring, at a time
`

// resizeRing adds the flags of the geometry, and makes a ring anew with what they say.
func resizeRing(f *cli.Flags) action {
	var g shmring.Geometry
	cli.Int(f, &g.Slots, "slots")
	f.Bytes(&g.SlotSize, "slot-size")
	f.Bytes(&g.MaxMessage, "max-message")
	cli.Int(f, &g.MaxProducers, "max-producers")
	return func(ctx context.Context, args []string, o *shmring.AdminOptions) (any, string, error) {
		if f.IsSet("slot-size") && g.SlotSize == 0 {
			g.SlotSize = shmring.NoPayload
		}
		if g == (shmring.Geometry{}) {
			return nil, "", cli.Usagef("nothing to change: give -slots, -slot-size, -max-message or -max-producers")
		}
		r, err := shmring.Resize(ctx, args[0], g, o)
		if bad, ok := errors.AsType[*shmring.OptionError](err); ok {
			err = cli.OptionUsage(bad, "Geometry.")
		}
		return r, tellResized(r), err
	}
}

func tellResized(r shmring.Resized) string {
	if !r.Changed {
		return fmt.Sprintf("%s: nothing to do: it has %s\n", r.Path, tellGeometry(r.Is))
	}
	text := tellDead(r.Dead)
	text += fmt.Sprintf("%s: had %s\n", r.Path, tellGeometry(r.Was))
	text += fmt.Sprintf("%s: has %s, and takes %d bytes; %d slots waited for a consumer\n", r.Path, tellGeometry(r.Is),
		r.Size, r.Used)
	if r.NewUUID {
		text += "messages that were seen already have other positions now: the ring has another UUID\n"
	}
	return text
}

func tellGeometry(g shmring.Geometry) string {
	return fmt.Sprintf("%d slots of %d bytes for messages of up to %d bytes, max producers %d", g.Slots, g.SlotSize,
		g.MaxMessage, g.MaxProducers)
}
