package wait

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/shmring/shmring/cmd/internal/cli"
)

// Print writes the report for people.
func (r *report) Print(w io.Writer) error {
	fmt.Fprintf(w, "%s, %d rounds in %.0f s\n\n", r.Where(), r.Rounds, r.Seconds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\t\ttrip\t\tnot pinned\t\tfirst\t\t\t\tidle\t\tlow rate\t\t\n")
	fmt.Fprint(t, "doorbell\tpolicy\tp50\tp99\tp50\tp99\tp50\tp90\tp99\tratio\tCPU\tsleeps/s\tsend\treceive\t\n")
	for _, f := range r.Ways {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.2f\t%.2f%%\t%.1f\t%.1f\t%.1f\t\n", f.Doorbell, f.Policy,
			show(f.RoundTrip.P50), show(f.RoundTrip.P99), show(f.Free.P50), show(f.Free.P99), show(f.First.P50),
			show(f.First.P90), show(f.First.P99), f.ToBaseline, f.IdleCPU, f.IdleSleeps, f.SendCPU, f.ReceiveCPU)
	}
	y := r.Baseline.First
	fmt.Fprintf(t, "bare\tfutex\t\t\t\t\t%s\t%s\t%s\t1.00\t\t\t\t\t\n", show(y.P50), show(y.P90), show(y.P99))
	fmt.Fprintf(t, "pacing\talone\t\t\t\t\t\t\t\t\t\t\t%.1f\t\t\n", r.Pacing)
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(w, "%s is not here: %s\n", s.Doorbell, s.Reason)
	}
	_, err := fmt.Fprintf(w, legend, size, silence, r.Baseline.By, r.IdleAfter, lowRate)
	return err
}

// show writes a time, or that there are too few samples.
func show(ns int64) string {
	if ns == 0 {
		return "-"
	}
	return cli.Nanos(ns)
}

const legend = `
trip      %d bytes there and back, one message at a time, without a pause; the two processes are pinned
          to a processor each, and then left to the system, as yours are
first     one way, after %v in which nothing was sent; ratio: its p50 to that of a bare futex (%s)
idle      a consumer that has waited for %.1f s already: its share of one processor, and how often it
          lies down again after looking for the dead
low rate  µs of processor time a message, or seconds a million, at %d messages a second; send has the
          timer in it that paces it, and receive whatever it spins
-         too few samples

doorbell  of the ring, set when it is created: Options.Doorbell, -doorbell, or SHMRING_DOORBELL
policy    of each handle: Options.WaitPolicy, -wait
          balanced spins for Options.SpinFor, -spin-for, while that pays; longer catches later answers
          and costs more at low rates
          Options.MaxSleep, -max-sleep: lower notices the dead sooner and makes idle dearer
Take balanced unless you know better: sleep where processors are scarce, spin where they are to spare,
park where threads are scarce.
`
