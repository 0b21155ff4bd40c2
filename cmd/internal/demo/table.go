package demo

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// print writes the report for people. The columns are aligned to the right and
// separated by blanks, so that two runs can be compared by eye and by diff.
func (r *report) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	where := "not pinned"
	if r.Pinned != nil {
		where = fmt.Sprintf("producer on %d, consumer on %d", r.Pinned[0], r.Pinned[1])
	}
	fmt.Fprintf(t, "%s, %d processors, %s\n\n", r.Version, r.CPUs, where)

	fmt.Fprint(t, "Verified: every byte, the order, nothing lost\n")
	fmt.Fprint(t, "ring\tsize\tproducers\tmessages\t\n")
	for _, c := range r.Verified {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t\n", c.Ring, c.Size, c.Producers, c.Messages)
	}

	fmt.Fprint(t, "\nStreaming, one message per send, process to process\n")
	fmt.Fprint(t, "ring\tsize\tproducers\tns/msg\tMmsg/s\tMB/s\t\n")
	for _, s := range r.Streams {
		fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t%.3f\t%.0f\t\n", s.Ring, s.Size, s.Producers, s.NsPerMsg, s.MsgsPerS/1e6, s.BytesPerS/1e6)
	}

	fmt.Fprintf(t, "\nRound trips of %d bytes over two spsc rings\n", tripSize)
	fmt.Fprint(t, "waiting\tp50\tp90\tp99\tp99.9\tmax\ttrips\t\n")
	for _, s := range r.Trips {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t\n", s.Waiting, ns(s.P50), ns(s.P90), ns(s.P99), ns(s.P999), ns(s.Max), s.Count)
	}
	fmt.Fprintf(t, "\n%.1f s\nOK\n", r.Seconds)
	return t.Flush()
}

// ns writes nanoseconds with a unit and three digits or so.
func ns(n int64) string {
	d := time.Duration(n)
	switch {
	case d >= 10*time.Millisecond:
		d = d.Round(100 * time.Microsecond)
	case d >= 100*time.Microsecond:
		d = d.Round(time.Microsecond)
	case d >= 10*time.Microsecond:
		d = d.Round(100 * time.Nanosecond)
	}
	return d.String()
}
