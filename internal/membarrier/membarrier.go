// Package membarrier lets one process put full memory barriers into others. A producer that publishes
// by a plain store looks at the bell word before the store has left its processor, and may overlook
// a consumer that goes to sleep at that moment. If that consumer first makes every processor that runs such
// a producer empty its store buffer, one of the two sees the other, as with a full barrier at
// every publish, which costs several times as much as the store.
//
// It is Linux's membarrier(2), MEMBARRIER_CMD_GLOBAL_EXPEDITED: since 4.16, for everybody, across
// processes, users and containers of one kernel.
package membarrier

// System is the operating system's barrier.
type System struct{}
