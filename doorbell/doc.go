// Package doorbell is how one side of a ring sleeps until the other rings.
//
// A bell belongs to one 32-bit word in the segment. The protocol on that word (who
// announces sleep, who clears the announcement, what is checked in between) is the
// ring's; a bell only supplies the two things that need the operating system: sleep
// while the word has a value, and wake those who do. The contract, the same for
// every kind, is that of [Bell]; doorbell_test.go holds every kind to it.
//
// The creator of a segment chooses the kind and writes it into the header. Whoever
// attaches obeys or is refused: two sides on different bells would never meet.
//
//	kind   sleeps by                      woken within        costs
//	futex  futex_waitv on the word        some microseconds   one system call each for sleep and wake
//	sysv   semtimedop on a semaphore set  some microseconds   two for a sleep, one for a wake, and a set
//	                                                          that outlives processes
//	poll   looking again, by timers: no   5 ms                up to 1.5 % of a processor for each sleeper
//	       system call that could be
//	       forbidden
//
// Beside the bell of its kind, every segment has a [ParkingLot], in which goroutines are parked
// and woken through inotify. The bell word says how those who sleep do it.
//
// # SysV
//
// A segment has one set of semaphores. A semaphore is a door: a sleeper closes it (1),
// looks at the word again, and waits for it to be open (0).
//
//	sleeper with the word old                    waker
//	  1 word ≠ old, or a stop is set: done          change the word
//	  2 door(old) = closed                          door(old) = open
//	  3 word ≠ old, or a stop is set:
//	    door(old) = open, done
//	  4 wait for door(old) = open
//
// The kernel orders the two stores to a door. If the waker's is the later one, it opens
// what the sleeper has closed, before or during 4. If it is the earlier one, then its
// change of the word is seen in 3. Whoever closes a door whose round is over finds that
// out in 3 and opens it again, for somebody of that round may be on the way to 4. Each of
// the last [doors] rounds of a word has a door of its own, so that the sleepers of the
// next round do not shut in those of this one who have passed 3 and have not come to 4.
// One who is held up there for that many rounds, all of them with sleepers, sleeps with
// those of the round that has its door, and gets up with them, or at its limit.
//
// Nobody's kill leaves a door shut on others for longer than their limits: a door is
// closed by sleepers only for themselves, and opened for all.
//
// A segment's set is at one of eight keys, which are made of the segment's UUID and the number of
// its inode, and so is a nonce. layout.Semaphores says which set it is, but that is a hint only:
// a peer may write anything there, and would have us use, or remove, whatever set it likes.
// Whoever needs the set makes it if there is none, under a lock of the segment, in this order:
//
//	step                                   killed behind it: the next one
//	1 note the IPC namespace               goes on
//	2 look at the eight keys: one that is  (nothing has changed)
//	  ready is used; else one that was begun
//	3 semget(key, IPC_EXCL), at the first  finds it in 2, as one that was begun
//	  that is free
//	4 give it to the owner of the file     likewise
//	5 write the nonce, in one step         finds it in 2
//	6 note its key and its id              uses it
//
// So a set can be found at any time by who has the file, and however often a peer spoils what the
// segment says, no second one is made. A set is used only if it is recognised: it has one of the
// keys, the right number of semaphores, and the nonce in two of them. It counts as begun if it has
// not the nonce, but was made by us, by root or by the owner of the file, with permission bits that
// mean nothing (0111, which nobody else gives a set). The rest of the world's sets are never
// touched. The inode is part of it because a peer can give a segment the UUID of another one;
// the UUID, because strangers would else know the keys, and could take them. That costs the ring
// its sleep: the error says so. The kernel gives an id a second time after some millions of
// sets, which takes seconds, and so what was recognised is looked at again after 5 ms.
//
// Who removes a set (ipcrm; logind does it for users who log out) ends all sleeps on it
// at once. The next sleeper makes another. A set belongs to an IPC namespace, and so a
// ring on SysV does: others are refused.
//
// [Remove] removes the set; package shmring calls it with the removal of a ring, and when
// the last process closes a ring whose file was removed by hand (not with life locks by
// flock, which has none for such a ring). If the file was removed
// by hand and then all processes were killed, the set stays: ipcs -s shows it as one of 130
// semaphores that nobody uses, ipcrm -s removes it. The same goes for one whose maker was
// killed between steps 3 and 4 where the next one is another user, who may not touch it.
//
// # Poll
//
// A sleeper looks at the word again and again, after pieces of an eighth of the time since
// the word last changed, at least 50 µs and at most 5 ms. It notices a message that comes
// after a pause of t at most t/8 later, or 5 ms. Go's timers add up to 1 ms in a process
// that does nothing else.
//
// # Adding a doorbell
//
//  1. Give it a number in layout.Doorbell, with its line in the table of docs/LAYOUT.md. The
//     number is part of the format: peers that do not know it refuse the ring, so the layout
//     needs a new version.
//  2. Write a type that keeps the contract of [Bell] in a file of its own. What it needs
//     besides the word comes in [Target].
//  3. Add it to New, and to candidates in bell.go at its place in the order of preference,
//     with a probe that tells why it does not work here. Probes leave nothing behind.
//  4. Add its name to String in layout/config.go, and its constant to Doorbell in the root's
//     options.go, with validate.go, same.go and the text for the environment variable; the
//     programs have a table in cmd/internal/cli/ring.go.
//  5. Add it to the conformance suite in doorbell_test.go: every kind has to pass all of it.
//  6. Put each store to shared state on a kill point, and let the laboratories run over it:
//     fuzz/waitlab's table of ways, and SHMRING_DOORBELL in ./check.
package doorbell
