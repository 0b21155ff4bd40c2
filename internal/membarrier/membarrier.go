// Package membarrier lets one process put full memory barriers into others. A producer that publishes
// by a plain store looks at the bell word before the store has left its processor, and may overlook
// a consumer that goes to sleep at that moment. If that consumer first makes every processor that runs such
// a producer empty its store buffer, one of the two sees the other, as with a full barrier at
// every publish, which costs several times as much as the store.
//
// It is Linux's membarrier(2), MEMBARRIER_CMD_GLOBAL_EXPEDITED: since 4.16, for everybody, across
// processes, users and containers of one kernel.
//
// Since 5.4 that misses processors. The kernel notes for each whether the process that it runs has registered, and
// leaves the note alone where one thread follows another of the same process, whatever the processor did in
// between but run another process: idle while the process registered, or run a thread of it to its end, which
// clears the note. Seen on 6.18: for seconds on end a call brings no barrier to a processor that runs a producer
// (package ring, TestFenceMisses, has that so). Nobody can ask for the note, or have it made anew. So who calls Fence
// looks for as long as stores take to leave a processor by themselves, and only what a bound makes up for may depend
// on that; all else asks for FenceAll.
package membarrier

// System is the operating system's barrier.
type System struct{}
