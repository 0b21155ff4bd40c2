package shmprom

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shmring/shmring"
)

// scrapeTimeout bounds a look at all rings. A look at one takes microseconds.
const scrapeTimeout = 10 * time.Second

// metric is one metric and where its values come from.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(s *shmring.Snapshot, emit emit) // called for rings that can be read, unless always
	// always calls of for what cannot be read, too.
	always bool
}

// emit takes one value, with the labels behind that of the ring.
type emit func(value float64, labels ...string)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("shmring_"+name, help, append([]string{"ring"}, labels...), nil)
}

func counter(name, help string, of func(s *shmring.Snapshot, emit emit), labels ...string) metric {
	return metric{desc: describe(name, help, labels...), kind: prometheus.CounterValue, of: of}
}

func gauge(name, help string, of func(s *shmring.Snapshot, emit emit), labels ...string) metric {
	return metric{desc: describe(name, help, labels...), kind: prometheus.GaugeValue, of: of}
}

// sides are the two halves of a ring, for metrics that both have.
func sides(name, help string, of func(shmring.Stats) float64) metric {
	return counter(name, help, func(s *shmring.Snapshot, emit emit) {
		emit(of(s.Ring.Consumed), "consumer")
		emit(of(s.Ring.Produced), "producer")
	}, "role")
}

// one makes a source of one value.
func one(of func(r *shmring.RingState) float64) func(*shmring.Snapshot, emit) {
	return func(s *shmring.Snapshot, emit emit) { emit(of(s.Ring)) }
}

// slotBytes is what a slot takes of the segment: its descriptor and its payload, or, where records lie in
// line, its part of the area.
func slotBytes(r *shmring.RingState) float64 {
	if r.Kind != shmring.KindMPSC {
		return float64(r.Queue.Lap) / float64(r.Geometry.Slots)
	}
	return float64(64 + r.Geometry.SlotSize)
}

// inBytes is how many bytes of the segment were passed on the way to a position.
func inBytes(r *shmring.RingState, p shmring.Position) float64 {
	if r.Kind != shmring.KindMPSC {
		return float64(p.Record) // of which that is the unit
	}
	return float64(p.Record) * slotBytes(r)
}

var metrics = []metric{
	counter("messages_total", "Messages delivered to consumers. They count now and then: before they sleep, and every "+
		"4096 messages.", one(func(r *shmring.RingState) float64 { return float64(r.Consumed.Messages) })),
	counter("bytes_total", "Payload of the messages delivered.",
		one(func(r *shmring.RingState) float64 { return float64(r.Consumed.Bytes) })),
	counter("dropped_total", "Messages that producers gave up because the ring was full.",
		one(func(r *shmring.RingState) float64 { return float64(r.Produced.Dropped) })),
	counter("full_sends_total", "Sends that met a full ring.",
		one(func(r *shmring.RingState) float64 { return float64(r.Produced.Full) })),
	counter("passed_over_total", "Records that a consumer passed over because a former one may have seen them.",
		one(func(r *shmring.RingState) float64 { return float64(r.Consumed.Dropped) })),
	counter("skipped_claims_total", "Claims of dead producers that were passed over.",
		one(func(r *shmring.RingState) float64 { return float64(r.Consumed.Skipped) })),
	counter("deaths_total", "Participants that were found dead.",
		one(func(r *shmring.RingState) float64 { return float64(r.Consumed.Deaths + r.Produced.Deaths) })),
	counter("events_total", "Events in the life of the ring: shmring events prints the last.",
		one(func(r *shmring.RingState) float64 { return float64(r.Events) })),
	counter("sent_ring_bytes_total", "Bytes of the ring that were claimed or sent, with what messages take besides their "+
		"payload; exact at any time.", one(func(r *shmring.RingState) float64 { return inBytes(r, r.Queue.End) })),
	counter("released_ring_bytes_total", "The same of what consumers have released.",
		one(func(r *shmring.RingState) float64 { return inBytes(r, r.Queue.ReadPos) })),

	sides("sleeps_total", "Times that somebody began to sleep.",
		func(s shmring.Stats) float64 { return float64(s.Sleeps) }),
	sides("asleep_seconds_total", "Time spent asleep, by all goroutines together.",
		func(s shmring.Stats) float64 { return s.Asleep.Seconds() }),
	sides("wakes_total", "Times that the other side was woken.",
		func(s shmring.Stats) float64 { return float64(s.Wakes) }),
	sides("spins_total", "Waits that busy-waited for longer than a moment.",
		func(s shmring.Stats) float64 { return float64(s.Spins) }),
	sides("spurious_wakeups_total", "Sleeps that ended with nothing to do.",
		func(s shmring.Stats) float64 { return float64(s.SpuriousWakeups) }),
	sides("timeout_wakeups_total", "Sleeps that nobody ended though there was something to do: 0, unless somebody was "+
		"killed.",
		func(s shmring.Stats) float64 { return float64(s.TimeoutWakeups) }),
	sides("late_wakeups_total", "Sleeps that ran out though somebody had begun to end them.",
		func(s shmring.Stats) float64 { return float64(s.LateWakeups) }),

	gauge("occupancy_bytes", "Size of what is taken of the ring, with what messages take besides their payload.",
		one(func(r *shmring.RingState) float64 {
			return r.Queue.Fraction * float64(r.Geometry.Slots) * slotBytes(r)
		})),
	gauge("occupancy_peak_bytes", "The same at the greatest depth that a producer has met, which it looks at once in a "+
		"ringful at least.",
		one(func(r *shmring.RingState) float64 { return float64(r.Produced.HighWater) * slotBytes(r) })),
	gauge("capacity_bytes", "Size of all slots.",
		one(func(r *shmring.RingState) float64 { return float64(r.Geometry.Slots) * slotBytes(r) })),
	gauge("consumer_lag_messages", "Messages that are not released yet.",
		one(func(r *shmring.RingState) float64 { return float64(r.Queue.Messages) })),
	gauge("consumer_lag_bytes", "Payload of the messages that are not released yet.",
		one(func(r *shmring.RingState) float64 { return float64(r.Queue.Bytes) })),
	gauge("consumer_still_seconds", "For how long messages waited and none was released, as far as this collector saw: "+
		"since the scrape at which that began.",
		one(func(r *shmring.RingState) float64 { return r.Queue.StillFor.Seconds() })),
	gauge("open_claims", "Claims that are not finished.",
		one(func(r *shmring.RingState) float64 { return float64(r.Queue.OpenClaims) })),
	gauge("untold_ends", "Ends of streams that no consumer was told of.",
		one(func(r *shmring.RingState) float64 { return float64(len(r.Untold)) })),
	gauge("participants", "Who is attached, by role and by whether that lives.", participants, "role", "life"),
	gauge("participant_info", "1 for each participant that is attached.", participantInfo,
		"role", "participant", "pid", "label"),
	gauge("progress_timestamp_seconds", "When a participant has moved messages: then, or since.", progress,
		"role", "participant"),
	{desc: describe("ring_readable", "1 if the ring can be read, else 0: then it is damaged, of another version, "+
		"no ring, or somebody else's."), kind: prometheus.GaugeValue, always: true,
		of: func(s *shmring.Snapshot, emit emit) { emit(truth(s.Err == nil && s.Ring != nil)) }},
	{desc: describe("verdict", "1 for each thing that is the matter with the ring, or the one that nothing is: shmring "+
		"inspect says it in words.", "code", "severity"), kind: prometheus.GaugeValue, always: true, of: verdicts},
}

// queueing is the histogram, of rings of which messages are measured.
var queueing = describe("queueing_seconds", "How long messages were in the queue, of those that were measured "+
	"(Options.MeasureEvery).")

var (
	upDesc = prometheus.NewDesc("shmring_up", "1 if the directory of the rings could be read.", nil, nil)
	rings  = prometheus.NewDesc("shmring_rings", "Rings, and what has a ring's file name.", nil, nil)
)

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func participants(s *shmring.Snapshot, emit emit) {
	type key struct {
		role shmring.Role
		life shmring.Life
	}
	n := map[key]int{{shmring.RoleConsumer, shmring.LifeAlive}: 0, {shmring.RoleProducer, shmring.LifeAlive}: 0}
	for _, p := range s.Ring.Peers {
		n[key{p.Role, p.Life}]++
	}
	for k, count := range n {
		emit(float64(count), string(k.role), string(k.life))
	}
}

func participantInfo(s *shmring.Snapshot, emit emit) {
	for _, p := range s.Ring.Peers {
		emit(1, string(p.Role), strconv.Itoa(p.Participant), strconv.Itoa(p.PID), p.Label)
	}
}

func progress(s *shmring.Snapshot, emit emit) {
	for _, p := range s.Ring.Peers {
		if !p.Progress.IsZero() {
			emit(float64(p.Progress.UnixNano())/1e9, string(p.Role), strconv.Itoa(p.Participant))
		}
	}
}

func verdicts(s *shmring.Snapshot, emit emit) {
	said := map[shmring.VerdictCode]bool{}
	for _, v := range s.Verdicts {
		if !said[v.Code] {
			said[v.Code] = true
			emit(1, string(v.Code), string(v.Severity))
		}
	}
}

// Collector is a prometheus.Collector of the rings of a directory.
type Collector struct{ monitor *shmring.Monitor }

// New makes one. Of the options Dir matters; nil is $SHMRING_DIR, else /dev/shm. Nothing is touched
// before it is scraped, and there is nothing to close.
func New(o *shmring.InspectOptions) *Collector { return &Collector{shmring.NewMonitor(o)} }

// Describe implements prometheus.Collector.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	descs <- upDesc
	descs <- rings
	descs <- queueing
	for _, m := range metrics {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector. What a ring's users have written there cannot make it fail.
func (c *Collector) Collect(values chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	list, err := c.monitor.Look(ctx)
	values <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, truth(err == nil))
	if err != nil {
		return
	}
	values <- prometheus.MustNewConstMetric(rings, prometheus.GaugeValue, float64(len(list)))
	for i := range list {
		s := &list[i]
		for _, m := range metrics {
			if s.Ring == nil && !m.always {
				continue
			}
			m.of(s, func(value float64, labels ...string) {
				values <- prometheus.MustNewConstMetric(m.desc, m.kind, value, append([]string{s.Name}, labels...)...)
			})
		}
		if s.Ring != nil && s.Ring.Queueing != nil {
			values <- histogram(s.Name, s.Ring.Queueing)
		}
	}
}

func histogram(ring string, q *shmring.Queueing) prometheus.Metric {
	buckets := map[float64]uint64{}
	var sum uint64
	for _, b := range q.Buckets {
		if sum += b.Count; b.Max > 0 {
			buckets[b.Max.Seconds()] = sum
		}
	}
	return prometheus.MustNewConstHistogram(queueing, q.Count, q.Sum.Seconds(), buckets, ring)
}
