package demo

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/shmring/shmring/cmd/internal/cli"
)

// Print writes the report for people. The columns are aligned to the right and
// separated by blanks, so that two runs can be compared by eye and by diff.
func (r *report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s\n\n", r.Where())

	fmt.Fprint(t, "Verified: every byte, the order, nothing lost\n")
	fmt.Fprint(t, "ring\tsize\tproducers\tmessages\t\n")
	for _, c := range r.Verified {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t\n", c.Ring, c.Size, c.Producers, c.Messages)
	}

	fmt.Fprint(t, "\nStreaming, one message per send, process to process, copied out by the receiver\n")
	fmt.Fprint(t, "ring\tsize\tproducers\tns/msg\tMmsg/s\tMB/s\t\n")
	for _, s := range r.Streams {
		fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t%.3f\t%.0f\t\n", s.Ring, s.Size, s.Producers, s.NsPerMsg, s.MsgsPerS/1e6,
			s.BytesPerS/1e6)
	}

	fmt.Fprintf(t, "\nRound trips of %d bytes over two spsc rings\n", tripSize)
	fmt.Fprint(t, "waiting\tp50\tp90\tp99\tp99.9\tmax\ttrips\t\n")
	for _, s := range r.Trips {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t\n", s.Waiting, cli.Nanos(s.P50), cli.Nanos(s.P90),
			cli.Nanos(s.P99), cli.Nanos(s.P999), cli.Nanos(s.Max), s.Count)
	}
	fmt.Fprintf(t, "\n%.1f s\nOK\n", r.Seconds)
	return t.Flush()
}
