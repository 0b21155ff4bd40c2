// The fates of streams: how they are stored, found and told. See doc.go for how to read this
// and ring/fate.go for the code.
//
// STREAMS producers come one after the other, each with a stream of its own: it sends one
// message or none, and ends its stream, or is killed. RECEIVERS consumers come one after the
// other. KILLS processes are killed, between any two steps; the last consumer is not. A stream
// is named by its epoch, 1 to STREAMS. The segment has room for the fates of FATES streams that
// were not told; more are merged into the newest.
//
// Whoever stores a fate holds the life lock of the producer: the producer itself, a successor,
// or a consumer that found it dead.

#ifndef STREAMS
#define STREAMS 3
#endif
#ifndef FATES
#define FATES 2
#endif
#ifndef KILLS
#define KILLS 2
#endif
#ifndef RECEIVERS
#define RECEIVERS 2
#endif

#define ENDED 1
#define DIED 2

#define FREE 0
#define USED 1
#define STATE_ENDED 2
#define DRAINING 3
#define ATTACHED (state == USED || state == STATE_ENDED)

// The segment.
byte record[STREAMS];           // the stream of the committed record at a position, 0: none
byte read_pos;
byte epoch;
byte state = FREE;
bool locked;                    // the life lock of the producer
byte upto[FATES], deaths[FATES]; // one word: the last stream of a fate, and which of those it covers died
byte at[FATES];                 // the position behind it
byte told;                      // streams up to this one were told
byte counted, verdict;          // one word: how many streams were over, up to which one
byte news;                      // counts changes, so that one need not look for nothing

// What really happened, for the assertions.
byte end;                       // positions that are committed
byte kills = KILLS;
bool closing[STREAMS + 1];      // its CloseSend was called
bool closed[STREAMS + 1];       // and has returned
bool merged[STREAMS + 1];       // its fate has no place of its own
bool delivered[STREAMS];        // by position
byte heard;                     // streams up to this one were told to a user
bool over;                      // there will be no more producers
byte checked;

// A process that holds the life lock holds it. Killed, it starts again as its successor.
#define DIES if :: atomic { kills > 0 && mortal -> kills--; locked = locked && !holds; holds = false; goto next } :: true fi

#ifdef NO_POSITION
#define DUE true
#else
#define DUE (at[n] <= pos)
#endif

// Stores the fate of stream e.
inline store_fate(e, kind, pos_) {
#ifdef NEWS_BEFORE_FATE
	news++;
#endif
	atomic { // only the holder of the lock changes these words, except told
		newest = 0; i = 0;
		do
		:: i == FATES -> break
		:: else -> if :: upto[i] > upto[newest] -> newest = i :: else fi; i++
		od;
		i = FATES
	}
	if
#ifndef FATE_TWICE
	:: upto[newest] >= e // whoever stored it was killed behind that
#else
	:: false
#endif
	:: else ->
		atomic { // a place whose fates were told
			place = FATES; i = 0;
			do
			:: i == FATES -> break
			:: else ->
#ifdef OVERWRITES_OLDEST
				if :: place == FATES || upto[i] < upto[place] -> place = i :: else fi;
#else
				if :: upto[i] <= told -> place = i :: else fi;
#endif
				i++
			od;
			i = FATES; kinds = 0;
			if
			:: place == FATES ->
				place = newest; merged[upto[newest]] = true;
#ifndef MERGE_FORGETS
				kinds = deaths[newest]
#endif
			:: else
			fi;
#ifdef MERGE_KEEPS_WORST
			if :: kinds != 0 || kind == DIED -> kinds = 255 :: else fi
#else
			if :: kind == DIED -> kinds = kinds | (1 << e) :: else fi
#endif
		}
#ifdef WORD_BEFORE_POSITION
		atomic { upto[place] = e; deaths[place] = kinds };
		DIES;
		at[place] = pos_;
#else
		at[place] = pos_;
		DIES;
		atomic { upto[place] = e; deaths[place] = kinds };
#endif
	fi;
	DIES;
#ifndef NEWS_BEFORE_FATE
	news++
#endif
}

// The stream of the last producer has a fate, before another begins.
inline retire() {
	if
	:: ATTACHED && epoch > 0 ->
		store_fate(epoch, DIED, end);
		DIES
	:: else
	fi
}

// Whoever is killed, or has closed its handle, has a successor, until there were all streams.
proctype Producers() {
	byte mine, newest, place, i, kinds;
	bool holds, mortal = true;
	do
	:: epoch == STREAMS -> break
	:: else ->
		atomic { !locked -> locked = true; holds = true };
		DIES;
#ifndef EPOCH_BEFORE_FATE
		retire();
#endif
#ifdef EPOCH_BEFORE_STATE
		epoch++;
		DIES;
		state = USED;
#else
		state = USED;
		DIES;
		epoch++;
#endif
		mine = epoch;
		DIES;
#ifdef EPOCH_BEFORE_FATE
		if :: epoch > 1 -> store_fate(epoch - 1, DIED, end) :: else fi;
#endif
		if
		:: atomic { record[end] = mine; end++ }
		:: true
		fi;
		DIES;
		closing[mine] = true;
#ifdef STATE_BEFORE_FATE
		state = FREE;
		DIES;
#endif
		store_fate(mine, ENDED, end);
		closed[mine] = true;
		DIES;
		state = STATE_ENDED;
		DIES;
		state = FREE;
		DIES;
		atomic { locked = false; holds = false };
next:		i = FATES
	od;
	over = true
}

// Finds the oldest fate that was not told: n, or FATES if there is none.
inline find() {
	atomic {
		n = FATES; i = 0;
		do
		:: i == FATES -> break
		:: else ->
			if
			:: upto[i] > told ->
				if :: n == FATES -> n = i :: n < FATES && upto[i] < upto[n] -> n = i :: else fi
			:: else
			fi;
			i++
		od;
		i = FATES;
		if :: n < FATES -> u = upto[n]; w = deaths[n] :: else fi
	}
}

// Tells the user of the streams behind told, up to u.
inline tell() {
	atomic {
		// In order, and again only if the consumer that was told was killed before its next call.
		assert(told == heard || again);
		checked = told + 1;
		do
		:: checked > u -> break
		:: else ->
			assert(!closed[checked] || !(w >> checked & 1));
			assert(closing[checked] || (w >> checked & 1));
			checked++
		od;
		// Behind all their messages.
		checked = 0;
		do
		:: checked == end -> break
		:: else -> assert(record[checked] > u || delivered[checked]); checked++
		od;
		checked = 0;
		if :: u > heard -> heard = u :: else fi;
		again = false; pending = u
	}
}

proctype Consumers() {
	byte consumers, pos, n, u, w, i, pending, seen, looked, newest, place, kinds;
	bool again, holds, mortal;
attach:
	consumers++; mortal = consumers < RECEIVERS;
	atomic { pos = read_pos; pending = 0; seen = 255 };
#ifdef LOOKS_AT_NEWS_ONLY
	seen = news;
#endif
#ifndef NO_REDO
	if :: counted != told -> told = counted :: else fi;
#endif
	again = heard > told;
	DIES;
call:	// The next call: what was told before is done with.
	if
	:: pending > told ->
#ifdef TOLD_BEFORE_COUNTED
		n = told; told = pending;
		DIES;
		atomic { verdict = verdict + pending - n; counted = pending };
#else
		atomic { verdict = verdict + pending - told; counted = pending };
		DIES;
		told = pending;
#endif
		DIES
	:: else
	fi;
	read_pos = pos;
look:	if
	:: pos < end ->
		n = FATES;
#ifndef NO_FIRST
		if // the first record of a stream; it is marked
		:: pos == 0 || record[pos] != record[pos - 1] -> find()
		:: else
		fi;
#endif
		if
		:: n < FATES && DUE -> goto told_
		:: else
		fi;
		atomic {
			assert(heard >= record[pos] - 1 || merged[record[pos] - 1]);
			delivered[pos] = true
		};
		pos++;
		DIES;
		goto call
	:: else // nothing next
	fi;
	looked = news;
	if
	:: looked != seen ->
		find();
		if
		:: n == FATES -> seen = looked
		:: n < FATES && DUE -> goto told_
		:: else
		fi
	:: else
	fi;
	// Asleep, until there is something to look at.
	do
	:: pos < end -> goto look
	:: news != seen -> goto look
#ifndef NO_REAP
#ifdef REAPS_BY_ASKING
	:: ATTACHED && !locked -> holds = false;
#else
	:: atomic { ATTACHED && !locked -> locked = true; holds = true };
#endif
		DIES;
#ifdef DRAINING_BEFORE_FATE
		n = state;
		state = DRAINING;
		DIES;
		if :: n == USED || n == STATE_ENDED -> store_fate(epoch, DIED, end) :: else fi;
#else
		retire();
		DIES;
		if :: ATTACHED -> state = DRAINING :: else fi;
#endif
		DIES;
		atomic { locked = locked && !holds; holds = false };
		goto look
#endif
	:: over && pos == end && news == seen && !locked && !ATTACHED ->
		if
		:: consumers < RECEIVERS -> goto next
		:: else -> goto done
		fi
	od;
told_:
#ifdef TOLD_AT_ONCE
	told = u; counted = u; verdict++;
	DIES;
#endif
	tell();
	DIES;
	goto call;
next:	goto attach;
done:
	assert(heard == epoch);
	assert(verdict == epoch);
	assert(pos == end)
}

init { atomic { run Producers(); run Consumers() } }
