// Package shmprom shows shared memory rings to Prometheus.
//
//	registry.MustRegister(shmprom.New(nil))
//
// The collector looks at all rings of a directory when it is scraped, as [shmring.Monitor] does: it takes
// no role and no lock, is felt by nobody, and holds no goroutine and no descriptor in between. It is a module of
// its own, so that nobody who imports the library has Prometheus among what they depend on.
//
// Counters are those of the ring: over all processes that ever used it. A ring that is made anew under the
// same name begins at zero, as Prometheus expects of counters. What the users of a ring wrote there
// is as true as they are.
package shmprom
