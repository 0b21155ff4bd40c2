// A Poller: one goroutine waits for 2 rings. Each ring has one producer, which publishes 2
// messages, and a bell word on which nobody else sleeps. The poller parks on both words and
// sleeps until the listener of its process has an event of either file.
//
// A ring needs a look when it was handed out, and when its word is not what it was when the
// poller last looked. An event only ends the sleep, and may be thrown away at any time
// before the next look.
//
// Switches that are no mistakes: CAP (sleeps end by themselves; then all rings are looked
// at), KILL (a producer is killed once, anywhere between a publish and its event), BY_EVENT
// (the events tell which rings need a look, and are kept until they had it).

#define BELL_PARKED 2
#define BELL_COUNT 4
#define BELL_SLEEPING 3

#define MESSAGES 2

byte word[2], there[2];
bool events[2]; // the listener has an event of this ring's file
byte gone;
bool killed;

#define OVER (gone == 2 && there[0] + there[1] == 0)

#ifdef KILL
#define DIES if :: atomic { !killed -> killed = true }; break :: true fi
#else
#define DIES
#endif

#define THROW_AWAY events[0] = false; events[1] = false
#ifdef BY_EVENT
#define READ_EVENTS named[0] = named[0] || events[0]; named[1] = named[1] || events[1]; THROW_AWAY
#else
#define READ_EVENTS THROW_AWAY
#endif

proctype Producer(byte r) {
	byte n, w;
	bool won;
	do
	:: n < MESSAGES ->
		atomic { n++; there[r]++ };
		DIES;
again:		atomic { w = word[r]; won = false } // B1
		if
		:: w & BELL_SLEEPING ->
			atomic {
				if
				:: word[r] == w -> word[r] = (w + BELL_COUNT) & ~BELL_SLEEPING; won = true
				:: else
				fi };
			if
			:: !won -> goto again
			:: else
			fi;
			DIES; // killpoint.BellCleared
			events[r] = true
		:: else
		fi
	:: n == MESSAGES -> break
	od;
	gone++
}

#ifdef BY_EVENT
#define CHANGED(r) named[r]
#else
#define CHANGED(r) (word[r] != key[r])
#endif

#ifdef POLL_TRUSTS_BIT
#define NEEDS_LOOK(r) (CHANGED(r) || (handed[r] && !(word[r] & BELL_PARKED)))
#else
#define NEEDS_LOOK(r) (CHANGED(r) || handed[r])
#endif

// One ring after the other.
inline scan(r) {
	if
	:: NEEDS_LOOK(r) || all ->
#ifdef POLL_LOOKS_FIRST
		ready = (there[r] > 0);
#endif
		atomic { handed[r] = false; named[r] = false };
		atomic { // killpoint.Announced; not stored while the bit is still set
			word[r] = word[r] | BELL_PARKED;
			key[r] = word[r] };
#ifdef POLL_LOOKS_FIRST
		handed[r] = ready;
#else
		handed[r] = (there[r] > 0); // B2
#endif
	:: else
	fi
}

proctype Poller() {
	byte key[2];
	bool handed[2], named[2], all, ready, early, late;
	all = true; // both rings are new
	do
	:: OVER -> break
	:: else ->
		scan(0);
		if
		:: true -> scan(1)
		:: handed[0] && !all // one is enough, the other can wait
		fi;
		all = false;
#ifdef POLL_DRAINS_LATE
		atomic { READ_EVENTS };
#endif
		if
		:: handed[0] || handed[1] ->
			// The caller takes a message of one of them and comes back.
			if
			:: atomic { handed[0] && there[0] > 0 -> there[0]--; late = false }
			:: atomic { handed[1] && there[1] > 0 -> there[1]--; late = false }
			fi;
			if
#ifdef POLL_FORGETS_EDGE
			:: atomic { true -> THROW_AWAY }
#else
			:: atomic { true -> READ_EVENTS }
#endif
			:: true
			fi
		:: else ->
			if
			:: atomic { events[0] || events[1] -> READ_EVENTS }
			:: OVER
#ifdef CAP
			:: atomic { !early -> early = true; all = true }
			:: atomic { timeout -> // nothing else can happen
				assert(killed && !late);
				late = true;
#ifndef CAP_LOOKS_AT_CHANGED
				all = true
#endif
				}
#endif
			fi
		fi
	od
}

init {
	atomic {
		run Poller();
		run Producer(0);
		run Producer(1)
	}
}
