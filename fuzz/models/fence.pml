// Who fences: a consumer promises to have every processor that runs a producer pass a barrier before it
// sleeps, and takes that back, over and over; 2 producers store plainly while they see the promise. See
// ring/notify.go (withdrawFences), ring/mpsc.go (heedMPSC, weighPlain), ring/spsc.go (heed); bell.pml
// has how they sleep and wake.
//
// A barrier here misses no processor, as the system's does now and then (internal/membarrier): then the sleeper's look
// comes behind the store because it lasts (lookAgain), and where not, the sleep is bounded.
//
// Everything published is taken, and nobody sleeps for ever.
//
// Switches that are no mistakes: SHARED (the producers are two goroutines of one handle, which go by one
// word).

#define SLEEPER 1
#define FENCES 2
#define MESSAGES 2
#define PRODUCERS 2

byte word;
byte there;              // messages in the ring
byte buffer[PRODUCERS];  // published, and still in the store buffer of the producer's processor
bool byStore[PRODUCERS]; // what the handle goes by
bool asleep;
byte taken;

#ifdef SHARED
#define HANDLE 0
#else
#define HANDLE me
#endif

#define DRAIN(i) there = there + buffer[i]; buffer[i] = 0
#define FENCED atomic { DRAIN(0); DRAIN(1) }

inline ring() { // wakeAll
	atomic {
		DRAIN(me);
		if
		:: word & SLEEPER -> word = word & ~SLEEPER; asleep = false
		:: else
		fi }
}

proctype Producer(byte me) {
	byte n, w;
	bool plain;
	do
	:: n < MESSAGES ->
		n++;
		if // weighPlain: now and then
		:: word & FENCES -> byStore[HANDLE] = true
		:: true
		fi;
		plain = byStore[HANDLE];
		if
		:: plain -> buffer[me]++
		:: else -> atomic { buffer[me]++; DRAIN(me) }
		fi;
		w = word; // B1
		if
		:: w & SLEEPER -> ring()
		:: else
		fi;
		if
		:: plain && !(w & FENCES) ->
			byStore[HANDLE] = false;
#ifndef STORED_QUIETLY
			atomic { DRAIN(me) }; // the store of that word is a full barrier
			w = word;
			if
			:: w & SLEEPER -> ring()
			:: else
			fi
#endif
		:: else
		fi
	:: else -> break
	od
}

proctype StoreBuffer(byte i) {
end:	do
	:: atomic { buffer[i] > 0 -> DRAIN(i) }
	od
}

proctype Consumer() {
	bool fences;
	byte changes;
	do
	:: taken == MESSAGES * PRODUCERS -> break
	:: atomic { there > 0 -> there--; taken++ }
	:: there == 0 && taken < MESSAGES * PRODUCERS ->
		if
		:: !fences && changes < 3 -> changes++; word = word | FENCES; fences = true
		:: fences && changes < 3 ->
			changes++;
			fences = false;
#ifdef FENCED_BEFORE
			FENCED;
#endif
			word = word & ~FENCES;
#if !defined(FENCED_BEFORE) && !defined(WITHDRAWN_QUIETLY)
			FENCED
#endif
		:: true
		fi;
		word = word | SLEEPER; // killpoint.Announced
#ifndef PROMISE_NOT_KEPT
		if
		:: fences -> FENCED
		:: else
		fi;
#endif
		if
		:: there > 0 -> goto up // B2
		:: else
		fi;
		atomic {
			if
			:: word & SLEEPER -> asleep = true
			:: else
			fi };
		!asleep;
up:		word = word & ~SLEEPER
	od
}

init {
	atomic {
		run Producer(0);
		run Producer(1);
		run StoreBuffer(0);
		run StoreBuffer(1);
		run Consumer()
	}
}
