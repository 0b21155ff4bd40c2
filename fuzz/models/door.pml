// The doorbell made of System V semaphores: doors. A door is a semaphore, 1 is shut and 0 is
// open; sleepers wait for zero. There are DOORS of them, and the count in the word says
// which one is meant. What is checked is the contract of doorbell.Bell: nobody stays in
// Sleep once the word is not old or its stop word is set.
//
// SLEEPERS announce themselves and sleep, ROUNDS times each. 2 wakers notify, NOTIFIES times in
// all, whenever somebody is announced.
//
// Switches that are no mistakes: STOP (the first sleeper's context ends), KILL (a waker is
// killed between the CAS and the wake, or a sleeper with the door shut behind it), CAP
// (sleeps end by themselves), TIMEOUT_WAKEUPS (and may find something to do then), BOUND (while a
// sleeper is between its steps 3 and 4 there are fewer than DOORS notifications), OWN_DOOR
// (each sleeper has a door of its own, wakers open all).

#define BELL_SLEEPER 1
#define BELL_COUNT 4
#define BELL_SLEEPING 3

#ifndef DOORS
#define DOORS 2
#endif
#ifndef SLEEPERS
#define SLEEPERS 2
#endif
#ifndef ROUNDS
#define ROUNDS 3
#endif
#ifndef NOTIFIES
#define NOTIFIES 3
#endif

byte word;
bool shut[DOORS];
bool asleep[SLEEPERS];
byte door[SLEEPERS];   // where it sleeps
bool stop[SLEEPERS];
bool inside[SLEEPERS]; // in Sleep
byte notified;
bool killed;

// semctl SETVAL 0: the kernel ends the waits for zero before anybody can set it to 1.
inline open(d) {
	d_step {
		shut[d] = false;
		asleep[0] = asleep[0] && door[0] != d;
#if SLEEPERS > 1
		asleep[1] = asleep[1] && door[1] != d
#endif
	}
}

inline open_all() { // semctl SETALL
	d_step {
		shut[0] = false;
		asleep[0] = false;
#if DOORS > 1
		shut[1] = false;
#endif
#if DOORS > 2
		shut[2] = false;
#endif
#if SLEEPERS > 1
		asleep[1] = false
#endif
	}
}

#ifdef OWN_DOOR
#define DOOR(w) me
#define OPEN(w) open_all()
#else
#define DOOR(w) ((w / BELL_COUNT) % DOORS)
#define OPEN(w) open(DOOR(w))
#endif

#ifdef BOUND
byte missed[SLEEPERS]; // notifications between its step 3 and step 4, plus one; 0: it is not there
#define AFTER3 missed[me] = 1;
#define AFTER4 missed[me] = 0;
#define MAY_NOTIFY(i) (missed[i] < DOORS)
#define NOTIFIES_PAST(i) missed[i] = (missed[i] > 0 -> missed[i] + 1 : 0);
#else
#define AFTER3
#define AFTER4
#define MAY_NOTIFY(i) true
#define NOTIFIES_PAST(i)
#endif

#ifdef TIMEOUT_WAKEUPS
#define RESCUE skip
#elif defined(CAP)
#define RESCUE assert(killed)
#else
#define RESCUE assert(false)
#endif

#define DONE (word != old || stop[me])

proctype Sleeper(byte me) {
	byte old, round;
	bool early;
	do
	:: round < ROUNDS && !stop[me] ->
		round++;
		inside[me] = true;
		atomic { word = word | BELL_SLEEPER; old = word } // killpoint.Announced
#ifndef NO_FIRST_CHECK
		if
		:: DONE -> goto up // 1
		:: else
		fi;
#endif
#ifndef DOOR_CLOSED_LATE
		shut[DOOR(old)] = true; // 2
#ifdef KILL
		if
		:: atomic { !killed -> killed = true }; break
		:: true
		fi;
#endif
#endif
		if
		:: DONE -> // 3
#ifndef DOOR_NOT_REOPENED
			open(DOOR(old));
#endif
			goto up
		:: atomic { else -> AFTER3 }
		fi;
#ifdef DOOR_CLOSED_LATE
		shut[DOOR(old)] = true;
#endif
		atomic { // 4: semtimedop, wait for zero
			asleep[me] = shut[DOOR(old)];
			door[me] = DOOR(old);
			AFTER4 };
		if
		:: atomic { !asleep[me] -> door[me] = 0 }
#ifdef CAP
		:: atomic { !early -> early = true; asleep[me] = false; door[me] = 0 }
#endif
		:: atomic { timeout -> // nothing else can happen
			asleep[me] = false;
			door[me] = 0;
			if
			:: DONE -> RESCUE
			:: else -> break // it may sleep on
			fi }
		fi;
up:		atomic { inside[me] = false; old = 0 }
	:: else -> break
	od;
	inside[me] = false
}

proctype Waker() {
	byte w;
	bool won;
	do
	:: atomic { notified < NOTIFIES && word & BELL_SLEEPING -> w = word }; // B1
		atomic {
			if
			:: word == w && notified < NOTIFIES && MAY_NOTIFY(0) && MAY_NOTIFY(SLEEPERS-1) ->
				NOTIFIES_PAST(0)
#if SLEEPERS > 1
				NOTIFIES_PAST(1)
#endif
				word = (w + BELL_COUNT) & ~BELL_SLEEPING;
				notified++;
				won = true
			:: else
			fi };
		if
		:: won ->
#ifdef KILL
			if
			:: atomic { !killed -> killed = true }; break // killpoint.BellCleared
			:: true
			fi;
#endif
			OPEN(w)
		:: else
		fi;
		atomic { w = 0; won = false }
	:: true -> break
	od
}

proctype Stopper(byte me) {
	stop[me] = true;
#ifdef STOP_UNTIL_LEFT
again:
#endif
#ifdef OWN_DOOR
	open(me);
#else
	open_all();
#endif
#ifdef STOP_UNTIL_LEFT
	if
	:: !inside[me]
	:: asleep[me] -> goto again
	fi
#endif
}

init {
	byte i;
	atomic {
		for (i : 0 .. SLEEPERS-1) {
			run Sleeper(i)
		}
		run Waker();
		run Waker();
#ifdef STOP
		run Stopper(0)
#endif
	}
}
