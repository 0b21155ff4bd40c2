// Broadcast rings: one producer that overwrites the oldest, waypoints that say how many messages there
// are before them, observers that copy and then ask whether that was whole. See doc.go for how to
// read this, dense.pml for the cells, and ring/broadcast.go and ring/anchor.go for the code.
//
// The producer is killed between any two steps, KILLS times in all, and another takes over: it has to
// find the end of what was committed, and how many messages that were. An observer begins at the newest
// waypoint or at one that is kept, and each message that it takes for whole has to be the one of that number.

#define CELLS 8
#ifndef MESSAGES
#define MESSAGES 5
#endif
#ifndef KILLS
#define KILLS 1
#endif
#define PART (CELLS / 2) // of each the first waypoint is kept

// What is in a cell: 0, a word, or payload.
#define WORD(n, seq) (1 + (n) + 4 * (seq)) // n: cells of payload, 0 or 1
#define SKIP(n) (3 + 4 * (n))              // passes n cells and its own
#define PAYLOAD(seq) (100 + (seq))
#define IS_PAYLOAD(w) ((w) >= 100)
#define IS_SKIP(w) (((w) - 1) % 4 == 2)
#define CELLS_OF(w) (1 + (IS_SKIP(w) -> ((w) - 3) / 4 : ((w) - 1) % 4))
#define SEQ_OF(w) (((w) - 1) / 4)
#define AT(pos) cell[(pos) % CELLS]

// The segment.
byte cell[CELLS];
byte read_pos, written, turn;
byte way_pos[2], way_messages[2];
byte kept_check[2], kept_pos[2], kept_messages[2];

// What really happened, for the assertions.
byte sent; // messages that are committed
byte kills = KILLS;
bool done;

#define DIES if :: atomic { kills > 0 -> kills--; goto next } :: true fi

inline leave_waypoint() {
#ifdef TURN_FIRST
	turn = turn + 1; DIES;
	way_pos[turn % 2] = pos; DIES;
	way_messages[turn % 2] = messages; DIES;
#else
	way_pos[(turn + 1) % 2] = pos; DIES;
	way_messages[(turn + 1) % 2] = messages; DIES;
	turn = turn + 1; DIES;
#endif
	k = (pos / PART) % 2;
	if
	:: kept_check[k] == 0 || kept_pos[k] / PART != pos / PART ->
#ifndef KEPT_WHILE_WRITTEN
		kept_check[k] = 0; DIES;
#endif
		kept_pos[k] = pos; DIES;
		kept_messages[k] = messages; DIES;
		kept_check[k] = pos + 1; DIES
	:: else
	fi;
	read_pos = pos; DIES
}

// What was sent is counted, and a waypoint left.
inline mark() {
	if
	:: pos != way ->
		do
		:: way == pos -> break
		:: else ->
			w = AT(way);
			assert(w != 0 && !IS_PAYLOAD(w));
#ifdef COUNTS_PADDING
			messages++;
#else
			if :: IS_SKIP(w) :: else -> messages++ fi;
#endif
			way = way + CELLS_OF(w)
		od;
#ifndef NO_WAYPOINT
		leave_waypoint()
#endif
	:: else
	fi
}

// The cells up to bound are about to be written.
inline extend(need_) {
	mark();
	bound = pos + need_;
	if
	:: written < bound + 1 ->
#ifdef WRITTEN_LATE
		due = bound + 1
#else
		written = bound + 1; DIES
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

inline clear_behind(pos_) {
	skip;
#ifndef NO_CLEAR
	AT(pos_) = 0; DIES
#endif
}

proctype Producer() {
	byte pos, way, messages, n, w, due, bound, k;
next:
	atomic { pos = 0; way = 0; messages = 0; n = 0; w = 0; due = 0; bound = 0; k = 0 }
	pos = read_pos;
	do // the walk
	:: w = AT(pos);
		if
		:: w == 0 -> break
		:: else ->
			assert(!IS_PAYLOAD(w)); // left by an older lap
			pos = pos + CELLS_OF(w)
		fi
	od;
	atomic { way = way_pos[turn % 2]; messages = way_messages[turn % 2]; bound = pos };
	assert(way >= read_pos && way <= pos && written - way <= CELLS);
	mark();
#ifndef NO_WAYPOINT
	assert(messages == sent);
#endif
	do
	:: sent == MESSAGES -> break
	:: else ->
		if :: n = 0 :: n = 1 fi;
		if
		:: pos % CELLS + 1 + n > CELLS -> // does not fit into the lap
			extend(CELLS - pos % CELLS);
			k = CELLS - pos % CELLS;
			clear_behind(pos + k);
			atomic { AT(pos) = SKIP(k - 1); pos = pos + k };
			DIES
		:: else ->
			if
			:: pos + 1 + n > bound -> extend(1 + n)
			:: else
			fi;
			if
			:: n == 1 -> AT(pos + 1) = PAYLOAD(sent); DIES
			:: else
			fi;
			clear_behind(pos + 1 + n);
			atomic { AT(pos) = WORD(n, sent); sent++; pos = pos + 1 + n };
			DIES;
			written_late()
		fi
	od;
	done = true
}

proctype Observer() {
	byte pos, messages, w, copied, t, c;
	bool fresh = true;
anchor:
	if
	:: t = turn;
		copied = way_pos[t % 2]; // in two loads
		c = way_messages[t % 2];
		if
#ifdef NO_SECOND_LOOK
		:: true
#else
		:: turn == t
#endif
		:: else -> goto anchor
		fi
	:: t = 0; goto kept
	:: t = 1;
kept:
		w = kept_check[t];
		copied = kept_pos[t];
		c = kept_messages[t];
		if
		:: w == copied + 1 && kept_check[t] == w
		:: else -> goto anchor
		fi;
		if
		:: written - copied <= CELLS
		:: else -> goto anchor
		fi
	fi;
	assert(fresh || copied < pos || c >= messages); // what was missed
	if
	:: fresh || copied > pos -> pos = copied; messages = c
	:: else -> goto anchor
	fi;
	fresh = false;
	do
	:: w = AT(pos);
		copied = 0;
		if
		:: w != 0 && !IS_PAYLOAD(w) && !IS_SKIP(w) && CELLS_OF(w) == 2 -> copied = AT(pos + 1)
		:: else
		fi;
		if
#ifdef UNASKED
		:: true ->
#else
		:: written - pos <= CELLS ->
#endif
			assert(!IS_PAYLOAD(w));
			if
			:: w == 0 ->
				if
				:: done && AT(pos) == 0 && written - pos <= CELLS -> assert(messages == sent); goto over
				:: done && (AT(pos) != 0 || written - pos > CELLS)
				:: AT(pos) != 0
				fi
			:: w != 0 && IS_SKIP(w) -> pos = pos + CELLS_OF(w)
			:: else ->
				assert(SEQ_OF(w) == messages);
				assert(CELLS_OF(w) == 1 || copied == PAYLOAD(messages));
				messages++;
				pos = pos + CELLS_OF(w)
			fi
		:: else -> goto anchor
		fi
	od;
over:
	skip
}

init {
	atomic {
		kept_check[0] = 1;
		run Producer();
		run Observer()
	}
}
