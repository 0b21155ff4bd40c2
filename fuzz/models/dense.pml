// Records in line: how a producer of an SPSC ring publishes, how another takes over from it,
// and what a consumer and its successors find. See doc.go for how to read this, and
// ring/area.go, ring/spsc.go and ring/read_spsc.go for the code.
//
// The area has CELLS cells of eight bytes. A record is a word, and perhaps a cell of payload
// that looks like a word: whatever a sender sends, an older lap leaves it lying about. Producers
// and consumers are killed between any two steps, KILLS times in all, and others take over. An
// observer, which has no part in the ring, copies a record and asks whether that was whole.

#ifndef CELLS
#define CELLS 4
#endif
#ifndef MESSAGES
#define MESSAGES 5
#endif
#ifndef KILLS
#define KILLS 2
#endif

// What is in a cell: 0, a word, or payload.
#define WORD(n, seq) (1 + (n) + 4 * (seq)) // n: cells of payload, 0 or 1
#define SKIP(n) (3 + 4 * (n))               // passes n cells and its own; the third kind of word
#define PAYLOAD(seq) (100 + (seq))
#define IS_PAYLOAD(w) ((w) >= 100)
#define IS_SKIP(w) (((w) - 1) % 4 == 2)
#define CELLS_OF(w) (1 + (IS_SKIP(w) -> ((w) - 3) / 4 : ((w) - 1) % 4))
#define SEQ_OF(w) (((w) - 1) / 4)

// The segment.
byte cell[CELLS];
byte read_pos, mark, written;

// What really happened, for the assertions.
byte sent;                    // messages that are committed
byte want;                    // the next that nobody was given
byte kills = KILLS;
bool done;                    // there are no more producers

// A producer that is killed has stored what it has stored. Its successor is the next one.
#define DIES if :: atomic { kills > 0 -> kills--; goto next } :: true fi
#define AT(pos) cell[(pos) % CELLS]

#ifdef NO_ROOM_BEHIND
#define ROOM 0
#else
#define ROOM 1
#endif

// The word behind a record, before that is committed.
inline clear_behind(pos_) {
	skip;
#ifndef NO_CLEAR
#ifdef KNOWN_CLEAN
	if
	:: pos_ < clean
	:: else ->
#endif
		AT(pos_) = 0;
		DIES
#ifdef KNOWN_CLEAN
	fi
#endif
#endif
}

// The cells from pos to upto are about to be written. An observer is told before.
inline tell_written(upto) {
	if
	:: written < upto ->
#ifdef WRITTEN_LATE
		due = upto
#else
		written = upto; DIES
#endif
	:: else
	fi
}

inline written_late() {
	skip;
#ifdef WRITTEN_LATE
	if :: due > written -> written = due :: else fi
#endif
}

proctype Producer() {
	byte pos, read, n, w, due, clean, upto;
next:
	atomic { pos = 0; read = 0; n = 0; w = 0; due = 0; clean = 0; upto = 0 }
	read = read_pos;
	pos = read;
#ifndef STARTS_AT_READ
	do // the walk
	:: w = AT(pos);
		if
		:: w == 0 -> break
		:: else ->
			assert(!IS_PAYLOAD(w)); // left by an older lap
			pos = pos + CELLS_OF(w);
			assert(pos - read <= CELLS)
		fi
	od;
#endif
#ifdef WRITTEN_BACK
	written = pos;
#endif
	do
	:: sent == MESSAGES -> break
	:: else ->
		// One message of one or two cells, or two at once, or a claim that is given up.
		if :: n = 0 :: n = 1 fi;
		if
		:: pos % CELLS + 1 + n > CELLS -> // does not fit into the lap
			upto = pos - pos % CELLS + CELLS;
			do
			:: upto + ROOM - read <= CELLS -> break
			:: else -> read = read_pos
			od;
			tell_written(upto + 1);
			clear_behind(upto);
			atomic { AT(pos) = SKIP(upto - pos - 1); pos = upto };
			DIES
		:: else ->
			do
			:: pos + 1 + n + ROOM - read <= CELLS -> break
			:: else -> read = read_pos
			od;
			tell_written(pos + 2 + n);
			if
			:: n == 1 && sent < MESSAGES ->
				if
#ifndef FORGETS_TO_SCRUB
				:: AT(pos + 1) = PAYLOAD(99); clean = 0; goto aborted
#else
				:: AT(pos + 1) = PAYLOAD(99); goto aborted
#endif
				:: true
				fi
			:: else
			fi;
#ifdef PUBLISHED_FIRST
			clear_behind(pos + 1 + n);
			atomic { AT(pos) = WORD(n, sent); sent++ };
			DIES;
			if :: n == 1 -> AT(pos + 1) = PAYLOAD(sent - 1) :: else fi;
			pos = pos + 1 + n;
#else
			if :: n == 1 -> AT(pos + 1) = PAYLOAD(sent); DIES :: else fi;
			if
			:: sent + 1 < MESSAGES && pos % CELLS + 2 + n <= CELLS && pos + 2 + n + ROOM - read <= CELLS ->
				// A batch: another one of one cell behind it, the first word last.
				tell_written(pos + 3 + n);
#ifdef BATCH_FORWARD
				atomic { AT(pos) = WORD(n, sent); sent++ };
				DIES;
				AT(pos + 1 + n) = WORD(0, sent);
				sent++;
				DIES;
				clear_behind(pos + 2 + n);
#else
				AT(pos + 1 + n) = WORD(0, sent + 1);
				DIES;
				clear_behind(pos + 2 + n);
				atomic { AT(pos) = WORD(n, sent); sent = sent + 2 };
				DIES;
#endif
				pos = pos + 2 + n
			:: true ->
#ifdef CLEARED_LATE
				atomic { AT(pos) = WORD(n, sent); sent++ };
				DIES;
				clear_behind(pos + 1 + n);
#else
				clear_behind(pos + 1 + n);
				atomic { AT(pos) = WORD(n, sent); sent++ };
				DIES;
#endif
				pos = pos + 1 + n
			fi;
#endif
			written_late();
#ifdef KNOWN_CLEAN
			// What is free behind it is cleared, while nobody waits for that.
			if
			:: pos % CELLS != 0 && pos % CELLS + 2 <= CELLS && pos + 2 - read <= CELLS ->
				tell_written(pos + 2);
				AT(pos) = 0; AT(pos + 1) = 0; clean = pos + 2
			:: true
			fi
#else
			skip
#endif
		fi
aborted:
	od;
	done = true
}

proctype Consumer() {
	byte pos, w, seq, again, upto;
next:
	atomic { pos = 0; w = 0; seq = 0; again = 0; upto = 0 }
	pos = read_pos;
	again = mark;
	if
	:: again < pos || again - pos > CELLS -> again = pos; mark = pos
	:: else
	fi;
	do
	:: w = AT(pos);
		if
		:: w == 0 ->
			if
			:: want == sent && done -> break
			:: AT(pos) != 0 // waits
			:: want == sent && done -> break
			fi
		:: else ->
			assert(!IS_PAYLOAD(w)); // left by an older lap
			if
			:: IS_SKIP(w) -> pos = pos + CELLS_OF(w)
			:: else ->
				upto = pos + CELLS_OF(w);
				seq = SEQ_OF(w);
#ifndef MARKED_LATE
				if :: mark < upto -> mark = upto; DIES :: else fi;
#endif
#ifdef RELEASED_EARLY
				read_pos = upto; DIES;
#endif
				// The user has it.
				atomic {
					assert(CELLS_OF(w) == 1 || AT(pos + 1) == PAYLOAD(seq));
					if
					:: seq == want -> want++
					:: else -> assert(seq < want && pos < again)
					fi
				}
				DIES;
#ifdef MARKED_LATE
				if :: mark < upto -> mark = upto; DIES :: else fi;
#endif
				pos = upto;
				DIES
			fi;
			if
			:: read_pos = pos; DIES
			:: CELLS - (pos - read_pos) > 2 // gathers
			fi
		fi
	od;
	assert(want == sent && sent == MESSAGES)
}

#ifdef OBSERVER
// It takes no part, and is asked whether what it has copied was whole.
proctype Observer() {
	byte pos, w, copied, before;
	pos = read_pos;
	w = AT(pos);
	if
	:: w == 0 || IS_PAYLOAD(w) || IS_SKIP(w) || CELLS_OF(w) == 1
	:: else ->
		copied = AT(pos + 1);
		if
		:: written <= pos + CELLS -> assert(copied == PAYLOAD(SEQ_OF(w)))
		:: else
		fi
	fi
}
#endif

init {
	atomic {
		run Producer();
		run Consumer();
#ifdef OBSERVER
		run Observer();
#endif
	}
}
