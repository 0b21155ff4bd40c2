package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/layout"
)

// way is one way of sleeping.
type way struct {
	name   string
	wait   shmring.Doorbell
	bell   layout.Doorbell
	parked bool // in the parking lot: a process with one processor parks its sleepers there
}

var (
	byFutex      = way{"futex", shmring.DoorbellFutex, layout.Futex, false}
	byParkingLot = way{"parked", shmring.DoorbellFutex, layout.Futex, true}
	bySysV       = way{"sysv", shmring.DoorbellSysV, layout.SysV, false}
	byPoll       = way{"poll", shmring.DoorbellPoll, layout.Poll, false}
)

var allWays = []way{byFutex, byParkingLot, bySysV, byPoll}

// MarshalJSON sends the name only.
func (w way) MarshalJSON() ([]byte, error) { return json.Marshal(w.name) }

func (w *way) UnmarshalJSON(text []byte) error {
	var name string
	if err := json.Unmarshal(text, &name); err != nil {
		return err
	}
	for _, k := range allWays {
		if k.name == name {
			*w = k
			return nil
		}
	}
	return fmt.Errorf("no way %q", name)
}

// unparked is the same ring for a process with more than one processor.
func (w way) unparked() way {
	if w.parked {
		return byFutex
	}
	return w
}

// pause is long enough for another process to fall asleep.
func pause() { time.Sleep(30 * time.Millisecond) }

// missing tells why a way of sleeping is not to be had here.
func (l *lab) missing(w way) error {
	name := l.ring()
	o := (args{Dir: l.Rings, Way: w, Kind: shmring.KindSPSC}).options()
	p, err := shmring.OpenProducer(l.Ctx, name, o)
	if err != nil {
		return err
	}
	got := p.Info().Doorbell
	if err := p.Close(); err != nil {
		return err
	}
	if err := shmring.Remove(l.Ctx, name, &shmring.AdminOptions{Dir: o.Dir}); err != nil {
		return err
	}
	if layout.Doorbell(got) != w.bell {
		return fmt.Errorf("a ring that asks for %v gets %v", w.bell, got)
	}
	return nil
}

// ways are those that there are. The others are noted.
func (l *lab) ways() (list []way) {
	for _, w := range allWays {
		if err := l.missing(w); err != nil {
			l.r.Skip("%s: %v", w.name, err)
			continue
		}
		list = append(list, w)
	}
	return list
}
