package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/shm"
)

func init() {
	roles["race"] = race
	roles["create"] = createAndRemove
}

// gunRing is the name and the geometry of the ring of one race.
func gunRing(round int, dir string) (string, shmring.Options) {
	return fmt.Sprintf("race%d", round), shmring.Options{Dir: dir, Mode: shmring.ModeOpenOrCreate, Kind: shmring.KindMPSC,
		Slots: 64, SlotSize: 128, MaxMessage: 2000, KeepStream: true}
}

// race opens a ring each time the starting gun is fired: command and extra of a journal
// that all children share count the rounds that have begun and those that are over.
func race(ctx context.Context, a args, j *journal) error {
	gun, err := openJournal(a.Text)
	if err != nil {
		return err
	}
	defer gun.Close()
	j.Set(phase, running)
	for round := 1; round <= int(a.Count); round++ {
		gun.Await(command, uint64(round), labs.ChildLimit)
		ring, o := gunRing(round, a.Dir)
		j.opening(round, false)
		p, err := shmring.OpenProducer(ctx, ring, &o)
		if err != nil {
			return err
		}
		inode, err := inodeOf(p.Info().Path)
		if err != nil {
			return err
		}
		j.opened(p.Info(), inode)
		j.Set(phase, uint64(2*round))
		gun.Await(extra, uint64(round), labs.ChildLimit)
		j.closing()
		if err := p.Close(); err != nil {
			return err
		}
		j.Set(phase, uint64(2*round+1))
	}
	return nil
}

// races has n processes open rings that are not there, all at the same time.
func (l *lab) races(n, rounds int) {
	n = min(n, shmring.DefaultMaxProducers)
	gun, err := openJournal(filepath.Join(l.Files, "gun"))
	if !l.must(err) {
		return
	}
	defer gun.Close()
	var racers []*child
	defer func() {
		for _, c := range racers {
			if c.j.Get(phase) != uint64(2*rounds+1) || !c.Ended(labs.Patience, nil) {
				c.kill()
			}
			if !c.WasKilled() {
				c.accuse()
			}
			c.forget()
		}
	}()
	for i := range n {
		c, err := l.spawn(args{Role: "race", Lane: uint32(i + 1), Text: gun.Path, Count: uint64(rounds)}, nil)
		if !l.must(err) {
			return
		}
		racers = append(racers, c)
	}
	for round := range rounds + 1 { // round 0: everybody is at the start
		gun.Set(command, uint64(round))
		for _, c := range racers {
			if !l.reach(c, max(running, uint64(2*round))) {
				return
			}
		}
		if round == 0 {
			continue
		}
		l.oneWinner(round, racers)
		gun.Set(extra, uint64(round))
		for _, c := range racers {
			if !l.reach(c, uint64(2*round+1)) {
				return
			}
			c.j.all()
		}
		ring, o := gunRing(round, l.Rings)
		l.must(shmring.Remove(context.Background(), ring, &shmring.AdminOptions{Dir: o.Dir}))
		if l.over() {
			return
		}
	}
	l.r.Note("race: %d processes opened a new ring at the same time, %d times", n, rounds)
}

// oneWinner checks one race: all have the same ring, which one of them has created.
func (l *lab) oneWinner(round int, racers []*child) {
	var list []incarnation
	created := 0
	for _, c := range racers {
		for _, t := range incarnations(c.PID(), c.j.all(), monotonic()) {
			list = append(list, t)
			if t.says&entryCreated != 0 {
				created++
			}
		}
	}
	ring, _ := gunRing(round, "")
	mine := holdings(list, func(t *incarnation) bool { return t.name == uint32(round) })
	if created != 1 || len(mine) != len(racers) {
		l.fault(&l.r.Split, "%s: %d processes have opened it and %d say that they created it", ring, len(mine), created)
	}
	l.oneRing(ring, mine)
}

// createAndRemove makes a ring and removes it, over and over.
func createAndRemove(ctx context.Context, a args, j *journal) error {
	once, done := context.WithCancel(ctx) // a refused removal is not waited for
	done()
	j.Set(phase, running)
	for j.Get(command) == 0 {
		p, err := shmring.OpenProducer(ctx, a.Ring, &shmring.Options{Dir: a.Dir, Mode: shmring.ModeCreateOnly,
			KeepStream: true})
		if err != nil {
			return err
		}
		if err := p.Close(); err != nil {
			return err
		}
		if err := shmring.Remove(once, a.Ring, &shmring.AdminOptions{Dir: a.Dir}); err != nil {
			return err
		}
	}
	return nil
}

// halfCreated kills creators: afterwards the name does not exist, or means a complete
// ring, and there is nothing else.
func (l *lab) halfCreated(kills int) {
	const ring = "made"
	complete := 0
	for range kills {
		if l.over() {
			return
		}
		c, err := l.spawn(args{Role: "create", Ring: ring}, nil)
		if !l.must(err) {
			return
		}
		ok := l.reach(c, running)
		time.Sleep(randomDelay(l.Rand))
		c.kill()
		if !c.WasKilled() {
			c.accuse()
		}
		c.forget()
		if !ok {
			return
		}
		complete += l.notHalf(ring)
		l.empty("a creator was killed")
	}
	l.r.Note("create: %d creators killed, %d left a ring, which was complete, the others nothing", kills, complete)
}

// sweepUnborn removes the directory for lock files of a ring that never got its name, as whoever next
// removes any ring of ours does. Nothing else may be there.
func (l *lab) sweepUnborn(ring string) {
	if left := l.Left(); len(left) != 1 || !strings.HasSuffix(left[0], ".locks") {
		return
	}
	err := shmring.Remove(l.Ctx, ring, &shmring.AdminOptions{Dir: l.Rings})
	if !errors.Is(err, fs.ErrNotExist) {
		l.fault(&l.r.Other, "removing %s, which is not there: %v", ring, err)
	}
}

// notHalf returns how many complete rings of that name there are.
func (l *lab) notHalf(ring string) int {
	if _, err := os.Lstat(filepath.Join(l.Rings, ring+shm.Suffix)); errors.Is(err, fs.ErrNotExist) {
		l.sweepUnborn(ring)
		return 0
	}
	ctx, cancel := context.WithTimeout(l.Ctx, labs.Patience)
	defer cancel()
	o := shmring.Options{Dir: l.Rings, Mode: shmring.ModeOpenOnly}
	if err := useOnce(ctx, ring, o); err != nil {
		l.fault(&l.r.Torn, "a creator was killed, and %s is not complete: %v", ring, err)
	}
	if err := shmring.Remove(context.Background(), ring, &shmring.AdminOptions{Dir: o.Dir}); err != nil {
		l.fault(&l.r.Leaked, "a creator was killed: %v", err)
	}
	return 1
}
