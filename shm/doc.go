// Package shm is how processes come to hold the same bytes: it creates,
// publishes, opens, maps, locks and unlinks files in a memory file system. It
// knows nothing of what the bytes mean.
//
//	seg, err := shm.Create(ctx, "orders", 1<<20, nil, format) // a name that did not exist
//	seg, err := shm.Open(ctx, "orders", headerSize, nil)      // a name that does
//	seg.TryLock(3)                                            // "participant 3 is alive", kept by the kernel
//	seg.Replace(ctx, 1<<21, format)                           // another file in its place, if nobody else is attached
//	seg.Close()                                               // never unlinks
//	shm.CreateSealed(ctx, "orders", 1<<20, nil, format)       // without a name, of a size that nobody can change
//	shm.Remove("orders", nil)                                 // refuses while anybody is attached
//
// # Invariants
//
//  1. A name that exists is complete: every byte allocated, every byte formatted.
//  2. No byte of a segment is missing: the pages are allocated before the file is
//     mapped, so that a full file system is an error of Create and not a SIGBUS
//     in whoever touches the page first.
//  3. Nobody who follows this package shortens a segment, ever.
//  4. A name is unlinked only under the exclusive attach lock, and only while it
//     still names the locked file, and so it is given to another file. Attached processes hold that lock shared, so
//     a name cannot be taken from under them by this package. Who does it some
//     other way is noticed by [Segment.Check].
//  5. Who holds a shared attach lock after the same-inode check of Open is attached
//     to the file that the name means, and to no other.
//  6. No store through [Segment.Bytes] reaches the file once the locks of the
//     handle are gone: Close takes the pages away first and the descriptor after.
//     [Segment.CloseWith] has its last word in between.
//
// # Creating, and what a crash leaves
//
//	step                              killed before the step is done
//	1 open O_TMPFILE (no name)        nothing
//	2 compare size with free space    nothing
//	3 fallocate, in chunks            nothing: the kernel frees a file without names
//	4 mmap                            nothing
//	5 format the bytes                nothing
//	6 fchown, fchmod to Options       nothing
//	7 locks by flock: make the         nothing, or an empty directory, which the next Remove
//	  directory of the lock files      in the same place unlinks
//	8 attach lock, shared              the same
//	9 linkat to the final name        the same, or the complete file under its name
//
// Where the file system has no O_TMPFILE, or the link through /proc is refused,
// step 1 makes a hidden file ".NAME.RANDOM.tmp" and step 9 renames it without
// replacing (or, where that is unknown, links it and unlinks the hidden name). A
// crash in steps 2 to 9 then leaves the hidden file. It is never mistaken for a
// segment and may be deleted whenever no process has it open. Any failure short
// of a crash removes it.
//
// Opening leaves nothing behind at any step, taking a life lock at most a lock file.
// Removing unlinks the lock files first, the name then and their directory last: who is killed in
// between leaves a segment that can be used, or removed, or an empty directory.
//
// # What is checked
//
// Opening looks at a file from outside before it maps any of it: what it is, whose, how many names
// it has, its first bytes ([Options].Judge), its length, and whether it has holes. Who may write a
// segment can do all that to it later, so [Segment.Check] looks again, before it touches a byte.
// All steps of an operation are about one directory, which is held open: of what becomes of its path
// meanwhile nobody takes notice.
//
// # Replacing
//
// [Segment.Replace] makes a file as Create does, while it holds the attach lock and the gate of
// the old one, gives it a name ".NAME.RANDOM.new" and renames it over the old name. Killed
// before the rename it leaves the segment as it was, and at most that file, which the next
// Replace or Remove of the segment unlinks: who holds the attach lock exclusively knows that no
// other Replace is at it. Killed after, it leaves the new one, and lock files of the old.
//
// Processes that wait for the attach lock of the old file get it when that is closed, find that
// it has lost its name, and open the new one.
//
// # Sealed segments
//
// [CreateSealed] makes a segment that has no name, on a memfd whose seals fix its size. Steps 1
// to 5 are those of creating; step 6 is to seal it, and there is no other. Killed at any step it
// leaves nothing, and so do all its users, whenever they are killed. It is reached through a
// descriptor ([Segment.Share]), by inheritance, a Unix socket, or systemd's file descriptor
// store. Locks belong to the open file, which travels with the descriptor, so [OpenSealed] opens
// the file anew, through /proc/self/fd, and a descriptor that is given away is of an open file
// that no lock is ever on. Life locks are OFD. There is no attach lock, because there is no name
// to be removed, and no lock file; [Segment.Alone] and [Segment.Replace] are not for them.
//
// # Lock map
//
//	lock            on                                 shared               exclusive
//	attach           the segment file, flock            attached, for life   Remove; Alone and Leave, until Close
//	life lock i     OFD: byte 1<<40 + i of the file    -                    participant i is alive, for life
//	                flock: file i in                   who asks, briefly    the same
//	                ".shmring-INODE.locks"
//	                of index 255                       -                    ForceSkip, for its length
//	                of index 256                       -                    whoever makes the doorbells' semaphore set
//	gate            the life lock of index -1          -                    whoever converts the attach lock
//
// Open file description locks (OFD, F_OFD_SETLK) and flock both belong to the open file
// description. The kernel drops them when that is closed, so with the death of the
// process, and not because some other descriptor of the same file was closed, which is
// how POSIX locks get lost. Descriptors are O_CLOEXEC and are plain integers, not
// *os.File, whose cleanup would drop a life lock behind our back.
//
// The attach lock is flock for everybody, because it is needed before the bytes can be
// read and by Remove, which cannot read them: processes that have OFD locks and such that
// do not must see each other there. Which kind the life locks are is up to those who know
// what the bytes mean ([Segment.UseLocks]). flock shuts out less: who may only read the
// segment can take the attach lock and keep others from opening it.
//
// An [Onlooker] takes none of these. It asks for OFD locks (F_OFD_GETLK), which leaves no trace, and
// looks up flocks in /proc/locks.
//
// # Lock files
//
// Life locks that are flocks need files. They lie in a directory of the segment's own, which its
// creator makes before the segment has its name, with the owner of the segment and for those who
// may write it: nobody else can put a file there. A directory with another owner or mode is not
// used. These rules keep one name from standing for two files that are both held, which would let
// somebody live be taken for dead:
//
//  1. A lock file is unlinked only by who holds it exclusively.
//  2. Who has locked one looks whether it still has its name, and if not starts again.
//  3. One is made only while the segment has its name. Somebody who removed that by other
//     means may have removed lock files that are held.
//  4. They are found through a descriptor of their directory, which was opened while the
//     segment had its name.
//
// Owner and mode are changed of what the same call has made, and of nothing else, so one who is
// killed in between must not leave a lock file that others cannot open: it gets its name when it is
// complete. What is not an empty file with one name is no lock file. It is neither locked nor
// changed nor unlinked, whatever its name: somebody may have put there what belongs to us.
//
// Two files that exist at one time have different inode numbers, so users of a segment
// that lost its name do not meet those of its successor, and a renamed segment keeps its
// locks. A directory left over from an inode that is no more is used by nobody, and whoever
// creates a segment with that number makes it anew. Remove unlinks that of its segment (it is busy
// while a lock in it is held), and those of ours that no segment beside them belongs to, unless
// something is held. Until a new segment has its name its creator holds the directory shared, by
// flock; who sweeps takes it exclusively, and looks for the segment once more. In a
// sticky directory those of other users stay.
//
// It follows that a segment with such locks must not be reached by hard links in several
// directories, and that nobody should unlink lock files that are in use. One thing a stranger can
// do in a directory for everybody: make the directory before us, if he guesses the inode number.
// Creating is refused then, with the remedy (a directory of one's own).
//
// Weighed and not taken: a name by a random word in the header (what is left of a segment that was
// removed by hand could not be told from what is in use); all lock files made by the creator, who
// alone could then make any (257 inodes for a ring of many producers); POSIX record locks, which need no
// files, but are lost when the process closes any descriptor of the segment.
//
// The kind of the locks stands in the segment, where a peer can change it. So UseLocks refuses while
// somebody holds one of the other kind.
//
// # Lifetime of the bytes
//
// The address range of [Segment.Bytes] stays mapped until the Segment is closed, whether
// anybody remembers it or not. After Close it holds private zeros, until the Segment is
// garbage collected. A slice does not keep its Segment from that, because the collector
// does not follow pointers into mapped memory: who may read it after Close keeps the
// Segment beside it. Do not aim io_uring or O_DIRECT transfers at it;
// they would write to the file after Close.
//
// # Elsewhere than Linux
//
// [Heap], [ValidateName] and [Path] work everywhere. The rest returns an error for
// which errors.Is(err, ErrUnsupported) holds.
package shm
