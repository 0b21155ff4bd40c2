// Package inner is what packages of this module see of package shmring that its users do not:
// the handles of package ring behind its own, with a way of waking that is the caller's. Package
// shmring sets the variables. What is any there is a type of that package, which this one cannot
// import.
package inner

import (
	"context"

	"github.com/shmring/shmring/ring"
)

// The functions of package shmring that package shmnet needs.
var (
	// OpenConsumer takes the consumer's role in the sealed ring behind a descriptor, which stays
	// the caller's. lot wakes producers that are parked. It returns a *shmring.Consumer and what
	// is behind it. Errors: those of shmring.OpenSealed.
	OpenConsumer func(ctx context.Context, fd int, lot ring.ParkingLot) (any, *ring.Consumer, error)
	// OpenProducer likewise takes the producer's role, and returns a *shmring.Producer; lot wakes a
	// consumer that is parked.
	OpenProducer func(ctx context.Context, fd int, lot ring.ParkingLot) (any, *ring.Producer, error)
	// Abandon makes the Close of a *shmring.Producer leave its stream without an end. It is called by
	// who calls Close.
	Abandon func(producer any)
	// Share returns a descriptor of a *shmring.Sealed, which is the caller's.
	Share func(sealed any) (int, error)
	// Spins tells whether busy-waiting can pay: the quota of the process's control groups pays
	// for more than one processor.
	Spins func() bool
)
