package stream

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What comes before all senders are warm and at it, and after the first has ended, is received
// and not measured.
func TestOnlySteadyMessagesAreMeasured(t *testing.T) {
	m := Meter{Long: intervals, Warm: 10} // an interval of a nanosecond: each call ends one
	m.Add(9, true)
	m.Add(1, false)
	require.Empty(t, m.each)
	m.Add(5, true) // begins the first interval
	for range 3 {
		m.Add(7, true)
	}
	m.Add(100, false)
	m.Add(100, true) // begins another
	m.Add(2, true)
	r := m.Rate()
	require.Len(t, m.each, 4)
	require.EqualValues(t, 3*7+2, r.Measured)
	require.EqualValues(t, 9+1+5+3*7+100+100+2, r.Received)
	require.Positive(t, r.NsPerMessage)
}

// A machine that is too busy for one interval still says how long all took.
func TestWithoutIntervals(t *testing.T) {
	m := Meter{Long: time.Hour, Warm: 1}
	require.Equal(t, &Rate{}, m.Rate(), "nothing came")
	m.Add(5, false)
	m.Add(3, true)
	m.Add(4, true)
	r := m.Rate()
	require.EqualValues(t, 7, r.Measured, "behind those with which the clock began")
	require.EqualValues(t, 12, r.Received)
	require.Positive(t, r.NsPerMessage)
}

func TestPumpCounts(t *testing.T) {
	calls := 0
	s, err := Pump(10, 0, nil, func() error { calls++; return nil })
	require.NoError(t, err)
	require.EqualValues(t, calls, s.Messages)
	require.GreaterOrEqual(t, calls, 10)
	_, err = Pump(10, time.Hour, nil, func() error {
		if calls++; calls > 1000 {
			return errors.ErrUnsupported
		}
		return nil
	})
	require.ErrorIs(t, err, errors.ErrUnsupported)
}
