// Package status is a page about the shared memory rings of a directory, to be served by a program that has
// HTTP already, or by shmring serve:
//
//	mux.Handle("/debug/shmring/", http.StripPrefix("/debug/shmring", status.New(nil)))
//
// What it serves, relative to where it is mounted:
//
//	/         the page: each ring, what is the matter with it, charts that move
//	/rings    a look at all rings, as JSON: a list of shmring.Snapshot
//	/events   the same again and again, as server-sent events
//
// The page loads nothing from anywhere else. Looking takes no role and no lock, and is felt by nobody. A
// look serves all who ask in the next quarter of a second, so that many pages cost what one does. There is no
// goroutine but those of requests, and nothing to close: /events ends with its request.
//
// It shows the names of rings, processes and users to whoever can connect, and lets nobody change anything. Keep it
// behind what keeps the other pages of the program from strangers.
package status
