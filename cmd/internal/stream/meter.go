package stream

import (
	"time"

	"github.com/shmring/shmring/cmd/internal/host"
	"github.com/shmring/shmring/cmd/internal/quantile"
)

// intervals is in how many pieces a stream is measured. Their median is not moved by
// a pause that the system forces on one of them.
const intervals = 20

// Rate is what a receiver has found.
type Rate struct {
	NsPerMessage float64 `json:"ns_per_message"`
	Measured     uint64  `json:"measured"` // messages
	Received     uint64  `json:"received"` // those before and after it too
}

// Meter measures how fast messages arrive.
type Meter struct {
	Long time.Duration // of the whole stream
	Warm uint64        // so many messages are not measured: processors and caches warm up
	Ran  host.Places   // where the receiver runs; nil: it is not noted

	rate   Rate
	first  time.Time // when the first messages had come
	begin  time.Time // of the interval; zero: none is measured
	since  uint64    // messages in it
	each   []float64 // nanoseconds per message, by interval
	missed uint64    // messages in the first call
}

// Add is called when n more messages have come. steady: all senders are at it now; what
// comes otherwise is not measured.
func (m *Meter) Add(n int, steady bool) {
	m.rate.Received += uint64(n)
	if m.first.IsZero() {
		m.first, m.missed = time.Now(), m.rate.Received
	}
	if !steady || m.rate.Received < m.Warm {
		m.begin = time.Time{}
		return
	}
	if m.begin.IsZero() {
		m.begin, m.since = time.Now(), 0
		m.Ran.Note()
		return
	}
	m.since += uint64(n)
	if d := time.Since(m.begin); d >= m.Long/intervals && m.since > 0 {
		m.each = append(m.each, float64(d.Nanoseconds())/float64(m.since))
		m.rate.Measured += m.since
		m.begin, m.since = time.Now(), 0
		m.Ran.Note()
	}
}

// Rate is the median of the intervals. Where there was none, because the machine was too
// busy to run all sides at once, it is that of all messages.
func (m *Meter) Rate() *Rate {
	r := m.rate
	r.NsPerMessage = quantile.Median(m.each)
	if len(m.each) == 0 && r.Received > 0 {
		r.Measured = max(1, r.Received-m.missed)
		r.NsPerMessage = float64(time.Since(m.first).Nanoseconds()) / float64(r.Measured)
	}
	return &r
}

// clockEvery is how many messages a sender sends between two looks at the clock, and
// noteEvery between two notes of where it runs.
const (
	clockEvery = 64
	noteEvery  = 64 * clockEvery
)

// Sent is what a sender has done.
type Sent struct {
	Messages uint64 `json:"messages"`
}

// Pump calls send as often as warm says, then for so long, and counts.
func Pump(warm uint64, long time.Duration, ran host.Places, send func() error) (s Sent, err error) {
	for ; err == nil && s.Messages < warm; s.Messages++ {
		err = send()
	}
	ran.Note()
	begin := time.Now()
	for err == nil && time.Since(begin) < long {
		for i := 0; i < clockEvery && err == nil; i++ {
			err = send()
		}
		s.Messages += clockEvery
		if s.Messages%noteEvery < clockEvery {
			ran.Note()
		}
	}
	return s, err
}
