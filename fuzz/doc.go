// Package fuzz attacks shmring from outside. It holds tests only: nothing here is
// for import. Its folders killlab, waitlab, histories and evilpeer are programs that kill real
// processes, put them to sleep, lie to them, and ask whether there is an order that explains their
// answers.
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
//	[FuzzAttach]         opening, looking at, putting   opened only when the header is a ring's; a
//	                     in order, resizing, removing,  documented error, in time; nothing is left
//	                     by arbitrary images in files
//	[FuzzLiveWords]      every call, by a goroutine     a documented error, in time; messages within
//	                     that writes words of the ring  what a message may be
//	                     over another mapping meanwhile
//
// Each target but the last is deterministic. Those above FuzzHandOver have one goroutine and use
// no names: their ring lies in memory that ends at unmapped pages on both sides, so that the first
// byte too far is a fault, or, under the race detector, in heap memory, which is all it can see.
// Life locks are those of a table in which producers and consumers can be killed.
//
// FuzzAttach and FuzzLiveWords use real files, and what of the library they pass through depends on how
// goroutines meet. So much of what the fuzzer finds interesting is chance, and it would spend nearly all of the time,
// up to a minute for each, on making it shorter: hence the second flag below.
//
// Plain go test runs the seeds of every target, and TestModelRandom and
// TestHostileRandom, which run random scripts. When one of those fails it prints the
// command that repeats the script. To search for longer:
//
//	go test ./fuzz -run '^$' -fuzz FuzzModel -fuzztime 10m
//	go test ./fuzz -run '^$' -fuzz FuzzAttach -fuzztime 10m -fuzzminimizetime 1x
//	go test ./fuzz -run Random -scripts 1000000 -timeout 1h
package fuzz
