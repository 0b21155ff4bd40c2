package shmring

import (
	"context"

	"github.com/shmring/shmring/internal/inner"
	"github.com/shmring/shmring/ring"
)

func init() {
	inner.OpenConsumer = func(ctx context.Context, fd int, lot ring.ParkingLot) (any, *ring.Consumer, error) {
		c, err := openConsumer(ctx, connected(lot), sealedAt(fd))
		if err != nil {
			return nil, nil, err
		}
		return c, c.handle, nil
	}
	inner.OpenProducer = func(ctx context.Context, fd int, lot ring.ParkingLot) (any, *ring.Producer, error) {
		p, err := openProducer(ctx, connected(lot), sealedAt(fd))
		if err != nil {
			return nil, nil, err
		}
		return p, p.handle, nil
	}
	inner.Abandon = func(producer any) { producer.(*Producer).keepStream = true }
	inner.Share = func(sealed any) (int, error) {
		r := sealed.(*Sealed)
		fd, err := r.s.seg.Share()
		return fd, r.s.named(err)
	}
	inner.Spins = func() bool { return paidCPUs() > 1 }
}

// connected are the options of a handle that is one half of a connection. It never sleeps by the
// ring's doorbell, so the environment has no say in that.
func connected(lot ring.ParkingLot) *Options {
	return &Options{lot: lot, Doorbell: DoorbellPoll, WaitPolicy: WaitSleep}
}

// sealedAt opens the sealed ring behind a descriptor for one who takes a role in it.
func sealedAt(fd int) opening {
	return func(ctx context.Context, o *Options) (*segment, error) {
		o, err := o.resolveSealed()
		if err != nil {
			return nil, err
		}
		return openSealed(ctx, fd, o)
	}
}
