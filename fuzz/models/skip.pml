// Force-skip against an owner that commits by a plain store. One claim of one slot; its owner
// commits it; somebody else puts it on record, as a producer may at any time; ADMINS
// processes, one after the other, give it up; a consumer delivers it or passes it, as often as it
// is asked. See ring/mpsc.go (finish), ring/repair.go (ForceSkip).
//
// The owner's stores leave its processor in their order, some time. Both fence on one side
// only: the owner stores its mark in Meta and looks at its state; who gives a claim up stores
// the state, has every processor pass a barrier, and looks at Meta.
//
// What has to be true: who is told that its message was sent has it delivered, and who is told
// that it was revoked has it passed; a claim that was passed once is passed for ever, and one that
// was delivered is delivered by a successor too; and who has given it up knows which of the two.
//
// Switches that are no mistakes: KILL (who gives up is killed once, anywhere).

#ifndef ADMINS
#define ADMINS 2
#endif

mtype = { old, claimed, committed, discarded } // the control word
mtype ctl = old;
bool finishing;         // Meta says that the owner is about to commit
bool revoked;           // the owner's state
bool metaSoon, ctlSoon; // in the store buffer of the owner's processor: Meta is the older

bool sent, refused;     // what the owner was told
bool delivered, passed; // what the consumer did
bool skipped;           // what one of those who give up was told
bool killed;

#define DRAIN_META if :: metaSoon -> finishing = true; metaSoon = false :: else fi
#define DRAIN DRAIN_META; if :: ctlSoon -> ctl = committed; ctlSoon = false :: else fi

#ifdef KILL
#define DIES if :: atomic { !killed -> killed = true; goto dead } :: true fi
#else
#define DIES
#endif

proctype Owner() {
	bool used;
#ifdef LOOKS_FIRST
	used = !revoked;
#endif
#ifndef UNMARKED
	metaSoon = true;
#endif
#ifndef LOOKS_FIRST
	used = !revoked;
#endif
#ifdef NEVER_LOOKS
	used = true;
#endif
	if
	:: used -> ctlSoon = true; sent = true // no LOCK
	:: else ->
		do
		:: atomic { ctl == old || ctl == claimed -> DRAIN; ctl = committed; sent = true; break }
		:: atomic { ctl == discarded -> DRAIN; assert(revoked); refused = true; break }
		od
	fi
}

proctype StoreBuffer() {
end:	do
	:: atomic { metaSoon -> DRAIN_META }
	:: atomic { !metaSoon && ctlSoon -> DRAIN }
	od
}

proctype Helper() { // ring/mpsc.go, help
	atomic {
		if
		:: ctl == old -> ctl = claimed
		:: else
		fi }
}

proctype Admin() { // ForceSkip; they hold a lock, and it is given back when they die
	byte n;
	bool won, was;
	mtype v;
	do
	:: n < ADMINS ->
		n++;
		won = false;
		atomic { // unfinishedClaim puts it on record
			if
			:: ctl == old -> ctl = claimed
			:: else
			fi };
		v = ctl;
		if
		:: v != claimed -> goto next // not stalled, or given up already
		:: else
		fi;
#ifdef FENCE_FIRST
		atomic { DRAIN };
#endif
		atomic { was = revoked; revoked = true }; // killpoint.StateRevoked; of a former one that was killed, taken over
		DIES;
#if !defined(FENCE_FIRST) && !defined(NO_FENCE)
		atomic { DRAIN }; // membarrier
#endif
		DIES;
#ifndef IGNORES_MARK
		if
		:: finishing -> goto back // nobody knows whether it is before its last store or behind it
		:: else
		fi;
#endif
		atomic {
			if
			:: ctl == v -> ctl = discarded; won = true
			:: else
			fi };
		DIES;
		if
		:: won -> skipped = true; goto next
		:: else
		fi;
back:		revoked = was; // killpoint.ClaimFinished
		goto next;
dead:		skip;
next:		skip
	:: else -> break
	od
}

proctype Consumer() { // and its successors, who begin there again
	byte n;
	do
	:: n < 3 ->
		n++;
		if
		:: atomic { ctl == committed -> assert(!passed); delivered = true }
		:: atomic { ctl == discarded -> assert(!delivered && revoked); passed = true } // R4
		:: true
		fi
	:: else -> break
	od
}

init {
	atomic {
		run Owner();
		run StoreBuffer();
		run Helper();
		run Admin();
		run Consumer()
	}
	timeout; // all are done, and the store buffer is empty
	assert(!metaSoon && !ctlSoon);
	if
	:: ctl == committed -> assert(sent && !refused && !passed && !skipped)
	:: ctl == discarded -> assert(refused && !sent && !delivered && (skipped || killed))
	fi
}
