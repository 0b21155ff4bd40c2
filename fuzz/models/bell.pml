// The bell word: how sleepers announce themselves and how wakers notify. See doc.go for how
// to read this and ring/notify.go for the code; B1 and B2 are the labels used there.
//
// THERE counts what sleepers wait for.
//	data bell (default)  messages in the ring. 2 producers notify, each publishes 2 messages.
//	                     1 consumer sleeps, alone on its word, each time in either way.
//	space bell (SPACE)   free slots of a ring of 1 slot. 1 consumer notifies. 3 producers sleep,
//	                     the second one parked. One of them, any, may quit at any time: it is
//	                     killed or closed, or its context ends.
//
// Switches that are no mistakes: CAP (sleeps end by themselves), KILL (a waker is killed
// once, anywhere between its publish and the last thing it does for it), ONE_KIND (all
// producers sleep on the doorbell).

#define BELL_SLEEPER 1 // bit 0: somebody sleeps on the doorbell
#define BELL_PARKED 2  // bit 1: somebody waits for an event of the file
#define BELL_COUNT 4   // the rest counts notifications
#define BELL_SLEEPING 3

#ifdef SPACE
#define SLEEPERS 3
#define WAKERS 1
#define MESSAGES 0
#define SLOTS 1
#define PARKS 1 // which of the sleepers parks
#else
#define SLEEPERS 1
#define WAKERS 2
#define MESSAGES 2 // per producer
#define SLOTS 0
#define PARKS 0
#endif

byte word;
byte there = SLOTS;
byte used;             // SPACE: messages in the ring
byte buffer[WAKERS];   // published, but still in the store buffer of the waker's CPU
bool asleep[SLEEPERS]; // in the kernel's queue of the word, or of the doorbell
bool events[SLEEPERS]; // the kernel has an event for the listener of this process
bool listed[SLEEPERS]; // a parked goroutine is registered with the listener
bool passed[SLEEPERS]; // the listener has passed an event on to it
byte gone;             // wakers that will notify no more
byte out;              // sleepers that will take no more
bool killed, quit;

#define DRAIN(i) there = there + buffer[i]; buffer[i] = 0 // what a LOCKed instruction does first
#ifdef UNREGISTERED // the second waker's process gets no barrier
#define FENCED atomic { DRAIN(0) }
#else
#define FENCED atomic { DRAIN(0); DRAIN(WAKERS-1) }
#endif
#ifdef SPACE
#define OVER false
#else
#define OVER (gone == WAKERS && there == 0 && buffer[0] + buffer[1] == 0)
#endif

// How a sleep ends without a notification: by the cap, once in a run at any moment, and whenever
// nothing else can happen. The latter must be because a waker was killed: otherwise a
// wake-up was lost (TimeoutWakeups in the counters).
#ifdef CAP
bool early;
#define ENDS(sleeping) \
	:: atomic { !early -> early = true; sleeping = false } \
	:: atomic { timeout -> assert(killed && there > 0); sleeping = false }
#else
#define ENDS(sleeping)
#endif

#ifdef ONE_KIND
#define PRODUCER_SLEEPS(i) BELL_SLEEPER
#else
#define PRODUCER_SLEEPS(i) (i == PARKS -> BELL_PARKED : BELL_SLEEPER)
#endif

#ifdef SPACE
#define QUITS if :: atomic { !quit -> quit = true }; break :: true fi
#else
#define QUITS
#endif

// A consumer that was killed has a successor; a producer has none.
#ifdef KILL
#define DIES if :: atomic { !killed -> killed = true; n = MESSAGES }; goto dead :: true fi
#else
#define DIES
#endif

// Sleeper is a blocking call, over and over (core.await, wait.once).
proctype Sleeper(byte me; byte todo) {
	byte key, how;
	bool waits;
	do
	:: atomic { there > 0 && todo > 0 -> // try
		there--;
#ifdef SPACE
		used++;
		todo--;
#endif
		key = 0; how = 0 }
	:: todo == 0 || OVER -> break
	:: else ->
		QUITS;
#ifdef SPACE
		how = PRODUCER_SLEEPS(me);
#else
		if
		:: how = BELL_SLEEPER
		:: how = BELL_PARKED
		fi;
#endif
#ifdef FENCE_FIRST
		FENCED;
#endif
		atomic { word = word | how; key = word } // killpoint.Announced
		QUITS;
#if defined(FENCE) && !defined(FENCE_LATE) && !defined(FENCE_FIRST)
		FENCED; // membarrier: every waker's CPU empties its store buffer
#endif
#ifndef NO_RECHECK
		if
		:: there > 0 -> goto up // B2
		:: else
		fi;
#endif
#ifdef FENCE_LATE
		FENCED;
#endif
#ifdef KEY_AFTER_RECHECK
		key = word;
#endif
#ifdef REFUSE_CLEAR
		if
		:: !(key & BELL_SLEEPING) -> goto up
		:: else
		fi;
#endif
		if
		:: how == BELL_SLEEPER ->
			atomic { // the kernel compares and enqueues under one lock
				if
				:: word == key -> asleep[me] = true
				:: else
				fi };
			if
			:: !asleep[me]
			:: atomic { OVER -> asleep[me] = false }
			ENDS(asleep[me])
			fi
		:: how == BELL_PARKED ->
			atomic { passed[me] = false; listed[me] = true; waits = true }
#ifndef PARK_NOT_COMPARED
			if
			:: word != key -> waits = false
			:: else
			fi;
#endif
			if
			:: !waits || passed[me]
			:: atomic { waits && OVER -> waits = false }
			ENDS(waits)
			fi;
			atomic { listed[me] = false; passed[me] = false; waits = false }
		fi;
up:		skip;
#if (!defined(SPACE) && !defined(NO_TAKE_BACK)) || defined(TAKE_BACK_SHARED)
		atomic { // killpoint.Unannounced
			if
			:: word == key -> word = word & ~BELL_SLEEPING
			:: else
			fi };
#endif
		key = 0;
		how = 0;
		QUITS
	od;
	out++
}

// Listener reads the events of one process and passes them to whom is registered. The
// kernel keeps them for it since before the process announced anything.
proctype Listener(byte me) {
end:	do
	:: atomic { events[me] -> events[me] = false };
		atomic {
			if
			:: listed[me] -> passed[me] = true
			:: else
			fi }
	od
}

inline wake(w) { // Bell.Wake
#ifdef WAKE_ONE
	atomic {
		if
		:: asleep[0] -> asleep[0] = false
		:: asleep[SLEEPERS-1] -> asleep[SLEEPERS-1] = false
		:: else
		fi };
#else
	d_step {
		asleep[0] = false;
#ifdef SPACE
		asleep[1] = false;
		asleep[2] = false
#endif
	};
#endif
}

#define cause() events[PARKS] = true // a byte of the file is read

#ifdef CLEAR_ONE_BIT
#define CLEARED(w) (w & BELL_SLEEPER -> BELL_SLEEPER : BELL_PARKED)
#else
#define CLEARED(w) BELL_SLEEPING
#endif
#ifdef NO_COUNT
#define RUNG(w) (w & ~CLEARED(w))
#else
#define RUNG(w) ((w + BELL_COUNT) & ~CLEARED(w))
#endif

// Waker publishes and notifies (handle.notify, handle.wakeAll).
proctype Waker(byte me) {
	byte n, w;
	bool won, again;
	do
#ifdef SPACE
	:: atomic { used > 0 -> used--; buffer[me]++;
#else
	:: atomic { n < MESSAGES -> n++; buffer[me]++;
#endif
#ifndef PLAIN_PUBLISH
		DRAIN(me); // XCHG or LOCK CMPXCHG
#endif
		}
		DIES;
look:		atomic { w = word; won = false } // B1
		if
		:: w & BELL_SLEEPING ->
#ifdef WAKE_BEFORE_CLEAR
			wake(w); cause();
#endif
			atomic {
				DRAIN(me);
				if
				:: word == w -> word = RUNG(w); won = true
				:: else
				fi };
			if // lost: somebody notified or got up, or another sleeper came
#ifndef CAS_ONCE
			:: atomic { !won && !again -> again = true }; goto look
#endif
			:: else
			fi;
#ifndef WAKE_BEFORE_CLEAR
			if
			:: won ->
				DIES; // killpoint.BellCleared
				if
				:: w & BELL_SLEEPER -> wake(w)
				:: else
				fi;
				DIES;
#if defined(CLEAR_ONE_BIT) || defined(NOTIFY_ONE_KIND)
				if
				:: !(w & BELL_SLEEPER) -> cause()
#else
				if
				:: w & BELL_PARKED -> cause()
#endif
				:: else
				fi
				// killpoint.Woken
			:: else
			fi;
#endif
		:: else
		fi;
dead:		atomic { w = 0; won = false; again = false }
#ifdef SPACE
	:: out == SLEEPERS && used == 0 -> break
#else
	:: n == MESSAGES -> break
#endif
	od;
	gone++
}

// StoreBuffer is the CPU's: what was stored plainly becomes visible some time.
proctype StoreBuffer(byte i) {
end:	do
	:: atomic { buffer[i] > 0 -> DRAIN(i) }
	od
}

init {
	byte i;
	atomic {
		for (i : 0 .. WAKERS-1) {
			run Waker(i);
#ifdef PLAIN_PUBLISH
			run StoreBuffer(i)
#endif
		}
		for (i : 0 .. SLEEPERS-1) {
			run Sleeper(i, 1)
		}
		run Listener(PARKS)
	}
}
