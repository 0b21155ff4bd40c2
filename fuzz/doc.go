// Package fuzz attacks shmring from outside. It holds tests only: nothing here is
// for import. Its folders killlab, waitlab and histories are programs that kill real
// processes, put them to sleep, and ask whether there is an order that explains their answers.
//
//	who attacks          what                           and expects
//	-------------------  -----------------------------  --------------------------------------------
//	[FuzzParse]          layout.Parse, by bytes that    a *FieldError, or a view that stays inside
//	                     were overlaid, forged or       the segment; accepted exactly when a second
//	                     invented                       reading of the format agrees
//	[FuzzHostile]        Producer and Consumer, by a    every call returns soon, with a result or a
//	                     peer that writes any word of   documented error; no access outside the
//	                     the segment between any two    segment; a handle that found corruption
//	                     calls                          stays failed
//	[FuzzModel]          Producer and Consumer, by      exactly what a slice of records, kept beside
//	                     honest scripts with kills,     the ring, says: each message, each error,
//	                     take-overs and positions       each descriptor, each release
//	                     just below every wrap
//	[FuzzHandOver]       shmring.ReceiveSealed, by      a ring exactly when that is what came; else
//	                     bytes and descriptors over a   a *HandOverError, and nothing stays open
//	                     Unix socket
//
// Each target is deterministic, has one goroutine and uses no names: its ring, but for that
// of FuzzHandOver, lies in memory that ends at unmapped pages on both sides, so that the first
// byte too far is a fault, or, under the race detector, in heap memory, which is all it can see.
// Life locks are those of a table in which producers and consumers can be killed.
//
// Plain go test runs the seeds of every target, and TestModelRandom and
// TestHostileRandom, which run random scripts. When one of those fails it prints the
// command that repeats the script. To search for longer:
//
//	go test ./fuzz -run '^$' -fuzz FuzzModel -fuzztime 10m
//	go test ./fuzz -run Random -scripts 1000000 -timeout 1h
package fuzz
