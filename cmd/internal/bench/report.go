package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/host"
	"github.com/shmring/shmring/cmd/internal/quantile"
	"github.com/shmring/shmring/cmd/internal/roundtrip"
	"github.com/shmring/shmring/cmd/internal/workers"
)

// report is what -json prints.
type report struct {
	workers.Outcome
	Kind     string   `json:"kind"`
	Slots    int      `json:"slots"`
	SlotSize int      `json:"slot_size"`
	Wait     string   `json:"wait"`
	Rounds   int      `json:"rounds"`
	Machine  machine  `json:"machine"`
	RanOn    ranOn    `json:"ran_on"`
	Streams  []rate   `json:"streams"`
	Trips    []trips  `json:"round_trips"`
	Warnings []string `json:"warnings"`
}

// machine is what there is to say of it.
type machine struct {
	Processor  string  `json:"processor"`
	Kernel     string  `json:"kernel"`
	Virtual    bool    `json:"virtual"`
	Processors int     `json:"processors"` // that this process may run on
	Quota      float64 `json:"quota"`      // of the control group, in processors; 0: none
	LoadBefore float64 `json:"load_before"`
	LoadAfter  float64 `json:"load_after"`
	Others     float64 `json:"others_percent"` // of all processors, by other processes
	Stolen     float64 `json:"stolen_percent"` // by the host of a virtual machine
}

// ranOn says how often processes were seen on each processor.
type ranOn struct {
	Producers host.Places `json:"producers"`
	Consumer  host.Places `json:"consumer"`
}

// rate is of a stream. Times is how many times as long a message takes over the socket.
type rate struct {
	Over      string          `json:"over"`
	Size      int             `json:"size"`
	Producers int             `json:"producers"`
	NsPerMsg  quantile.Spread `json:"ns_per_msg"`
	MsgsPerS  float64         `json:"msgs_per_s"`
	BytesPerS float64         `json:"bytes_per_s"`
	Messages  uint64          `json:"messages"` // that were measured
	Times     float64         `json:"socket_to_ring,omitempty"`
}

// trips is of round trips, in nanoseconds: medians over the rounds, of Max the highest.
type trips struct {
	Over  string          `json:"over"`
	Size  int             `json:"size"`
	P50   quantile.Spread `json:"p50_ns"`
	P99   quantile.Spread `json:"p99_ns"`
	Max   int64           `json:"max_ns"`
	Count int64           `json:"count"`
	Times float64         `json:"socket_to_ring,omitempty"`
}

// describe notes what is to be measured, and on what.
func (r *report) describe(c *config, rounds int) {
	o := c.ring.Options
	r.Kind, r.Rounds, r.Pinned = o.Kind.String(), rounds, c.pins
	r.Slots, r.SlotSize = o.Slots, o.SlotSize
	if r.Slots == 0 {
		r.Slots = shmring.DefaultSlots
	}
	switch r.SlotSize {
	case 0:
		r.SlotSize = shmring.DefaultSlotSize
	case shmring.NoPayload:
		r.SlotSize = 0
	}
	for _, p := range cli.Policies {
		if p.Value == o.WaitPolicy {
			r.Wait = p.Word
		}
	}
	m := &r.Machine
	m.Processor, m.Kernel, m.Virtual, m.Processors = host.Processor(), host.Kernel(), host.Virtual(), host.Processors()
	m.Quota, _ = host.Quota()
	m.LoadBefore = host.Load()
	r.RanOn = ranOn{host.Places{}, host.Places{}}
	r.Streams, r.Trips, r.Warnings = []rate{}, []trips{}, c.warnings(m)
}

// muchElse is from which share of the processors on, in percent, it is said that others have it.
const muchElse = 5

// warnings are what makes figures less than they could be.
func (c *config) warnings(m *machine) []string {
	all := []string{}
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if busy := m.Others + m.Stolen; busy > muchElse {
		add("others took %.0f %% of the processors meanwhile: these figures are of a busy machine", busy)
	}
	needed := c.producers + 1
	switch {
	case m.Processors < 2:
		add("this process may run on one processor: spinning is of no use, and each turn costs a switch")
	case m.Processors < needed:
		add("%d processes share %d processors", needed, m.Processors)
	}
	if m.Quota > 0 && m.Quota < float64(needed) {
		add("the control group allows %.3g processors, and %d processes want one each: they are stopped now and then",
			m.Quota, needed)
	}
	for i, cpu := range c.pins {
		if slices.Contains(c.pins[:i], cpu) {
			add("-pin puts several processes on processor %d", cpu)
			break
		}
	}
	return all
}

// medians are those of each round.
func medians(rounds []*roundtrip.Times) (all []float64) {
	for _, r := range rounds {
		all = append(all, float64(r.P50))
	}
	return all
}

func tripsOf(t *sampled, socket []float64) trips {
	p50 := medians(t.trips)
	r := trips{Over: t.over, Size: t.size, P50: quantile.SpreadOf(p50), Times: times(socket, p50)}
	var p99 []float64
	for _, one := range t.trips {
		p99 = append(p99, float64(one.P99))
		r.Max, r.Count = max(r.Max, one.Max), r.Count+one.Count
	}
	r.P99 = quantile.SpreadOf(p99)
	return r
}

// times is the median of the ratios within rounds that have both; 0 if there are none.
func times(of, by []float64) float64 {
	var each []float64
	for i := range min(len(of), len(by)) {
		if by[i] > 0 {
			each = append(each, of[i]/by[i])
		}
	}
	return quantile.Median(each)
}

// Print writes the report for people.
func (r *report) Print(w io.Writer) error {
	fmt.Fprintf(w, "%s\n%s\n%s ring, %d slots of %d bytes, waiting %s; %d rounds in %.0f s\n", r.Where(), &r.Machine,
		r.Kind, r.Slots, r.SlotSize, r.Wait, r.Rounds, r.Seconds)
	fmt.Fprintf(w, "ran on processors: producers %v; consumer %v\n", r.RanOn.Producers, r.RanOn.Consumer)
	for _, text := range r.Warnings {
		fmt.Fprintf(w, "warning: %s\n", text)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\nStreams: one message a send, copied out by the receiver\n")
	fmt.Fprint(t, "over\tsize\tproducers\tns/msg\tlowest\thighest\tMmsg/s\tMB/s\tsocket/ring\t\n")
	for _, s := range r.Streams {
		fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t%.1f\t%.1f\t%.3f\t%.0f\t%s\t\n", s.Over, s.Size, s.Producers, s.NsPerMsg.Median,
			s.NsPerMsg.Lowest, s.NsPerMsg.Highest, s.MsgsPerS/1e6, s.BytesPerS/1e6, showTimes(s.Times))
	}
	fmt.Fprint(t, "\nRound trips: one message there and back\n")
	fmt.Fprint(t, "over\tsize\tp50\tlowest\thighest\tp99\tmax\ttrips\tsocket/ring\t\n")
	for _, s := range r.Trips {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t\n", s.Over, s.Size, nanos(s.P50.Median), nanos(s.P50.Lowest),
			nanos(s.P50.Highest), nanos(s.P99.Median), cli.Nanos(s.Max), s.Count, showTimes(s.Times))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(w, legend, r.placement())
	return err
}

func nanos(n float64) string { return cli.Nanos(int64(n)) }

func showTimes(n float64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%.3g", n)
}

func (m *machine) String() string {
	s := m.Kernel
	if m.Processor != "" {
		s = m.Processor + ", " + s
	}
	if m.Virtual {
		s += ", a virtual machine"
	}
	if m.Quota > 0 {
		s += fmt.Sprintf("; the control group allows %.3g processors", m.Quota)
	}
	return s + fmt.Sprintf("\nload %.2f before, %.2f after; meanwhile others took %.1f %% of the processors, "+
		"the host %.1f %%", m.LoadBefore, m.LoadAfter, m.Others, m.Stolen)
}

const legend = `
Figures are medians over the rounds; lowest and highest are of the rounds' medians, max is of all trips.
socket/ring is how many times as long the socket takes, the median of the ratios within rounds. The socket is
a Unix stream socket (net.UnixConn): one Write a message, read by way of a buffer.
`

// placement says what is known of where processes and processors were.
func (r *report) placement() string {
	s := ""
	if r.Pinned == nil {
		s = "The system chose the processors, and may have moved processes meanwhile; -pin keeps them.\n"
	}
	if r.Machine.Virtual {
		s += "The host of a virtual machine moves its processors: near each other or far apart, which is up to four times\n" +
			"as slow, is not known here; the spread shows it.\n"
	}
	return s
}
