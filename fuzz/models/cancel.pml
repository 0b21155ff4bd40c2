// Cancellation and Close: how a blocked Receive ends. One consumer sleeps on the bell word
// and on its stop words at once; a producer publishes 2 messages; a context ends; somebody
// closes the handle. See ring/wait.go (await, once), ring/gate.go (close), futex (Stop).
//
// The consumer calls Receive(ctx) until it fails. What was published and not taken must
// then still be in the ring.
//
//	default  futex_waitv: the kernel compares and enqueues word after word, then sleeps
//	SLICED   without futex_waitv: sleeps on the bell word alone, in slices; between two
//	         slices the stop words are looked at
//
// Switches that are no mistakes: NO_CLOSE and NO_CANCEL leave one of the two out.

#define BELL_SLEEPER 1
#define BELL_COUNT 4
#define BELL_SLEEPING 3

#define MESSAGES 2

byte word;
byte there, taken, published; // messages
bool ended;          // ctx.Err() is not nil
byte before;         // messages that were published then
byte promised;       // of those the ones that the receiver knows it has to look for
bool stop, closed;   // the stop words: of this call's context, of the handle
bool onWord, onStop, onClosed; // where the sleeper is enqueued
bool busy;           // a call is in progress (gate.busy)
bool unmapped;       // Close has returned: the segment is not mapped any more
bool gone;           // the producer is done

#define LEAVE onWord = false; onStop = false; onClosed = false
#define STOPPED (stop || closed)
#define MAPPED assert(!unmapped)

// Sleep is Bell.Sleep. A wake-up takes the sleeper off all queues.
inline sleep(key) { // futex.Wait
	if
	:: STOPPED -> goto up
	:: else
	fi;
#ifdef SLICED
slice:	MAPPED;
	atomic {
		if
		:: word == key -> onWord = true
		:: else
		fi };
	if
	:: !onWord
#ifndef NO_SLICE
	:: atomic { !early -> early = true; onWord = false }
	:: atomic { timeout -> assert(STOPPED && !late); late = true; onWord = false }
#endif
	fi;
#ifndef STOP_NOT_COMPARED
	if
	:: word == key && !STOPPED -> goto slice
	:: else
	fi
#else
	if
	:: word == key -> goto slice
	:: else
	fi
#endif
#else
	MAPPED;
	woken = false;
	atomic {
		if
		:: word == key -> onWord = true
		:: else -> woken = true
		fi };
	// What has been enqueued may be woken before the rest is.
	atomic {
		if
		:: woken || !onWord -> woken = true; LEAVE
#ifndef STOP_NOT_COMPARED
		:: else ->
			if
			:: stop -> woken = true; LEAVE
			:: else -> onStop = true
			fi
#else
		:: else -> onStop = true
#endif
		fi };
	atomic {
		if
		:: woken || !onWord || !onStop -> woken = true; LEAVE
		:: else ->
			if
			:: closed -> woken = true; LEAVE
			:: else -> onClosed = true
			fi
		fi };
	atomic {
		woken || !(onWord && onStop && onClosed) -> LEAVE }
#endif
}

// Consumer is the consumer (core.await, wait.once). "err" is what core.interrupted says.
proctype Consumer() {
	byte key;
	bool woken, early, late, found, err;
	do
	:: true -> // Receive(ctx)
		busy = true; // gate.enter
		promised = 0;
		if
		:: closed -> goto fail
		:: else
		fi;
loop:		MAPPED;
#ifndef LOOK_THEN_STOP
		atomic { err = (closed || ended); promised = (ended -> before : 0) };
#endif
#ifdef ERROR_BEFORE_DATA
		if
		:: err -> goto fail
		:: else
		fi;
#endif
		if
		:: there > 0 -> goto take
		:: else
		fi;
#ifdef LOOK_THEN_STOP
		atomic { err = (closed || ended); promised = (ended -> before : 0) };
#endif
		if
		:: err -> goto fail
		:: else
		fi;
		atomic { word = word | BELL_SLEEPER; key = word } // killpoint.Announced
		if
		:: there > 0 -> goto up // B2
		:: else
		fi;
		sleep(key);
up:		MAPPED;
		found = (there > 0);
		atomic { // killpoint.Unannounced
			if
			:: word == key -> word = word & ~BELL_SLEEPING
			:: else
			fi };
		goto loop;
take:		MAPPED;
		atomic { there--; taken++; found = false; key = 0; woken = false };
		busy = false
	od;
fail:	assert(!found); // data comes before errors: it was there when the sleep ended
	assert(taken >= promised); // and so is what was published before the context ended
	busy = false;
	gone; // and the next call finds the rest
	assert(taken + there == published)
}

proctype Producer() {
	byte n, w;
	bool won;
	do
	:: n < MESSAGES ->
		atomic { n++; there++; published++ };
again:		atomic { w = word; won = false } // B1
		if
		:: w & BELL_SLEEPING ->
			atomic {
				if
				:: word == w -> word = (w + BELL_COUNT) & ~BELL_SLEEPING; won = true
				:: else
				fi };
			if
			:: won -> onWord = false
			:: else -> goto again
			fi
		:: else
		fi
	:: n == MESSAGES -> break
	od;
	gone = true
}

proctype Canceller() {
	atomic { ended = true; before = published };
	stop = true; // futex.Stop, in the goroutine of context.AfterFunc
#ifndef STOP_WITHOUT_WAKE
	onStop = false
#endif
}

proctype Closer() { // gate.shut
	closed = true;
#ifndef STOP_WITHOUT_WAKE
	onClosed = false;
#endif
#ifndef CLOSE_DOES_NOT_WAIT
	!busy; // also what leaveBlocking reports
#endif
	unmapped = true
}

init {
	atomic {
		run Consumer();
		run Producer();
#ifndef NO_CANCEL
		run Canceller();
#endif
#ifndef NO_CLOSE
		run Closer()
#endif
	}
}
