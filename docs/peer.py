#!/usr/bin/env python3
"""A peer of shmring in another language, written from LAYOUT.md alone. It shows that the page is enough.

    peer.py send FILE TEXT ...    be the producer of an SPSC ring: send each TEXT, end the stream, leave
    peer.py receive FILE          be the consumer of an SPSC ring: print each message, until the stream ends

It needs Linux on amd64, OFD locks and the doorbell futex. Three atomic instructions that Python does not have
are seventeen bytes of machine code. It does little: it sends no padding, and while it waits it looks after no dead.
"""
import ctypes
import fcntl
import mmap
import os
import struct
import sys
import time

# -- atomic words ---------------------------------------------------------------------------------

_code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
_code.write(b"\x89\xf0\xf0\x0f\xb1\x17\xc3"  # mov eax,esi; lock cmpxchg [rdi],edx; ret
            b"\x48\x87\x37\xc3"              # xchg [rdi],rsi; ret
            b"\xf0\x48\x0f\xc1\x37\xc3")     # lock xadd [rdi],rsi; ret
_at = ctypes.addressof(ctypes.c_char.from_buffer(_code))
_cas32 = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)(_at)
_xchg64 = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64)(_at + 7)
_add64 = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64)(_at + 11)
_libc = ctypes.CDLL(None, use_errno=True)
FUTEX, WAIT, WAKE = 202, 0, 1  # never with the PRIVATE flag: section 11.1
M64 = 2**64 - 1

WRITTEN, READ_POS, DATA_BELL, SPACE_BELL, NEWS = 136, 256, 384, 512, 664
FENCES, KEPT = 1 << 30, 3 << 30  # bits of DATA_BELL that are no part of its count
FREE, USED, ENDED, REVOKED = 0, 1, 3, 4   # section 2.1
FIRST, SKIP = 1 << 48, 1 << 49            # section 4.2
WORD = 1 << 63 | 7 << 56
FATE_ENDED, FATE_DIED = 0, 3              # section 9.1
FATES = ("ended", "left", "failed", "died")


def ahead(a, b):
    """How far epoch a is ahead of epoch b. Of a packed word only the lower half counts, which is an epoch."""
    return (a - b + 2**31) % 2**32 - 2**31


def entry(i):
    """Where participant i is."""
    return 768 + 512 * i


def up(n):
    return (n + 4095) & ~4095


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Segment:
    """Section 2, and steps O1 to O4."""

    def __init__(self, path):
        while True:
            self.fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            fcntl.flock(self.fd, fcntl.LOCK_SH)  # O2; a program would poll
            ours, named = os.fstat(self.fd), os.stat(path, follow_symlinks=False)
            if (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino):  # O3
                break
            os.close(self.fd)
        self.mem = mmap.mmap(self.fd, ours.st_size)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.mem))
        head = self.mem[:128]
        magic, endian, major, _, head_size, self.kind, _, size, _, checksum, _ = struct.unpack_from("=QIHHII16sQqII", head)
        self.slots, self.slot_size, self.participants, self.max_message, incompat, _, self.doorbell, _, self.d, self.p = \
            struct.unpack_from("=QIIQQQIIQQ", head, 64)
        check = {
            "magic": magic == 0x31474E49524D4853,
            "endian": endian == 0x01020304,
            "major": major == 4,
            "incompat": incompat == 2,  # OFD locks, and records in line
            "checksum": checksum == crc32c(head[:56] + head[64:]),
            "slots": 8 <= self.slots <= 2**30 and self.slots & (self.slots - 1) == 0,
            "descriptors": self.d == head_size == up(entry(self.participants) + 128 * 40),  # and the events of section 16
            "payload": self.p == self.d,
            "size": size == ours.st_size == up(self.p + self.area()),
            "doorbell": self.doorbell == 1,
            "kind": self.kind == 1,
        }
        for what, good in check.items():
            if not good:
                raise SystemExit(f"{path}: {what} is not what this peer speaks")

    def area(self):
        """How many bytes the records lie in: section 2."""
        need = max(self.slots * max(self.slot_size, 64), self.max_message + 80)
        return 1 << (need - 1).bit_length()

    # An aligned load of 4 or 8 bytes by ctypes is one MOV: an acquire on amd64.
    def load64(self, at):
        return ctypes.c_uint64.from_address(self.base + at).value

    def load32(self, at):
        return ctypes.c_uint32.from_address(self.base + at).value

    def store32(self, at, value):
        ctypes.c_uint32.from_address(self.base + at).value = value

    def store64(self, at, value):
        """A store with a full barrier."""
        _xchg64(self.base + at, value & M64)

    def lock(self, i):
        """A life lock: section 5."""
        flock = struct.pack("=hhxxxxqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, 2**40 + i, 1, 0)
        fcntl.fcntl(self.fd, 37, flock)  # F_OFD_SETLK; BlockingIOError: somebody has it

    def take(self, i, role):
        """Steps T1 to T9."""
        self.lock(i)
        at = entry(i)
        if self.load32(at) in (USED, ENDED, REVOKED):  # whoever had it did not give it back
            if i > 0:
                self.store_fate(i, FATE_DIED, self.end())
            self.store32(at, FREE)
        self.store32(at + 8, role)
        self.store32(at + 12, os.getpid())
        self.store32(at, USED)
        self.store32(at + 4, (self.load32(at + 4) + 1) % 2**32)
        if i > 0:
            self.notify(DATA_BELL)

    def leave(self, i):
        """Steps L3 and L4, of a consumer or an SPSC producer."""
        self.store32(entry(i), FREE)
        os.close(self.fd)

    def end(self):
        """The first position of an SPSC ring where there is no record."""
        pos = read = self.load64(READ_POS)
        while pos - read < self.area() and self.load64(self.at(pos)):
            pos = self.next(pos, self.load64(self.at(pos)))
        return pos

    def fates(self, i):
        """Where the fates of a producer are, and their first words."""
        first = entry(i) + 272
        return [(at, self.load64(at)) for at in range(first, first + 240, 24)]

    def store_fate(self, i, fate, pos):
        """Steps E1 to E5. We hold life lock i."""
        epoch, told = self.load32(entry(i) + 4), self.load32(entry(i) + 256)
        fates = self.fates(i)
        newest, word = max(fates, key=lambda f: ahead(f[1], told))
        if ahead(word, epoch) < 0:
            place, new = newest, epoch | fate << 32
            told_places = [at for at, w in fates if ahead(w, told) <= 0]
            if told_places:
                place = told_places[0]
            else:  # the newest stands for this one too
                kinds = word >> 32 & 2**30 - 1
                new |= (kinds << 2 & 2**30 - 1) << 32 | max(word >> 62, kinds >> 28) << 62
            self.store32(place + 16, self.load32(entry(i) + 12))
            self.store64(place + 8, pos)
            self.store64(place, new)
        _add64(self.base + NEWS, 1)

    def at(self, pos):
        """Where the word at pos stands: section 4.2."""
        return self.p + pos % self.area()

    def next(self, pos, word):
        """Where the next record begins. The word of this one is checked."""
        align, n = word >> 56, word & 0xFFFFFFFF
        if align not in (0x80 | 7, 0x80 | 63) or word >> 48 & 0xFF & ~3 or \
                n > self.max_message and not word & SKIP:
            raise SystemExit(f"corrupt: word {word:#x} at {pos}")
        end = pos + 8 + n + (align & 63) & ~(align & 63)
        if end - pos > self.area() - pos % self.area():
            raise SystemExit(f"corrupt: word {word:#x} at {pos}")
        return end

    def notify(self, bell):
        """Steps N1 to N4."""
        for _ in range(2):
            word = self.load32(bell)
            if word & 3 == 0:
                return
            if _cas32(self.base + bell, word, word & KEPT | (word + 4) & ~KEPT & ~3) == word:
                if word & 1:
                    _libc.syscall(FUTEX, ctypes.c_void_p(self.base + bell), WAKE, 2**31 - 1, None, None, 0)
                if word & 2:
                    os.pread(self.fd, 1, 0)
                return

    def take_back_fences(self):
        """Step Y1 of a consumer that does not fence."""
        while True:
            word = self.load32(DATA_BELL)
            if not word & FENCES:
                return
            if _cas32(self.base + DATA_BELL, word, word & ~FENCES) == word:
                time.sleep(0.001)

    def sleep(self, bell, ready):
        """Steps Z1 to Z4, for at most 10 ms."""
        while True:
            word = self.load32(bell)
            if _cas32(self.base + bell, word, word | 1) == word:
                break
        key = word | 1
        if not ready():
            limit = struct.pack("=qq", 0, 10_000_000)
            _libc.syscall(FUTEX, ctypes.c_void_p(self.base + bell), WAIT, key, limit, None, 0)


class Producer:
    def __init__(self, path):
        self.s = s = Segment(path)
        s.take(1, 2)
        self.pos = s.end()  # its own position: the end of 6.3
        self.flags = FIRST

    def send(self, data):
        """Steps S1 to S6."""
        s, n = self.s, len(data)
        word = WORD | self.flags | n
        end = s.next(self.pos, word) if n <= s.max_message else self.pos
        if end == self.pos or (end - 1) // s.area() != self.pos // s.area():
            raise SystemExit("too long, or this peer does not pad")
        while end + 8 - s.load64(READ_POS) > s.area():
            s.sleep(SPACE_BELL, lambda: end + 8 - s.load64(READ_POS) <= s.area())
        if end + 8 > s.load64(WRITTEN):
            s.store64(WRITTEN, end + 8)
        at = s.at(self.pos)
        s.mem[at + 8:at + 8 + n] = data
        s.store64(s.at(end), 0)  # the word behind it, and only then
        s.store64(at, word)
        self.pos = end
        self.flags = 0
        s.notify(DATA_BELL)

    def close(self):
        """Section 9.2, and leave."""
        self.s.store_fate(1, FATE_ENDED, self.pos)
        self.s.store32(entry(1), ENDED)  # no CAS: claims of an SPSC ring are not revoked
        self.s.notify(DATA_BELL)
        self.s.leave(1)


class Consumer:
    def __init__(self, path):
        self.s = s = Segment(path)
        s.take(0, 1)
        s.take_back_fences()
        self.pos = s.load64(READ_POS)  # R1
        self.mark = s.load64(entry(0) + 40)
        if (self.mark - self.pos) & M64 > s.area():
            self.set_mark(self.pos)
        over = s.load64(entry(0) + 264)  # U7
        late = ((over & 0xFFFF) - s.load32(entry(1) + 256)) % 2**16
        if over >> 16 & 0xFF == 1 and 0 < late < 2**15:
            s.store32(entry(1) + 256, (s.load32(entry(1) + 256) + late) % 2**32)
        self.news = None

    def set_mark(self, pos):
        self.mark = pos
        self.s.store64(entry(0) + 40, pos)

    def ready(self):
        return self.s.load64(self.s.at(self.pos)) != 0

    def tell(self):
        """Steps U2 to U6. It returns whether a stream has ended cleanly; of others it says how they ended."""
        s, at = self.s, entry(1) + 256
        self.news = s.load64(NEWS)
        while True:
            told = s.load32(at)
            fates = [(ahead(word, told), place, word) for place, word in s.fates(1) if ahead(word, told) > 0]
            if not fates:
                return False
            n, place, word = min(fates)  # the oldest, of n streams
            if (s.load64(place + 8) - self.pos - 1) & M64 < s.area():
                return False  # not there yet
            fate, n = (word >> 62, n - 15) if n > 15 else (word >> 32 + 2 * (n - 1) & 3, 1)
            if fate > 0:
                print(f"stream {told + n}: {FATES[fate]}", file=sys.stderr)
            told = (told + n) % 2**32
            over = s.load64(entry(0) + 264) & ~0xFFFFFF
            s.store64(entry(0) + 264, over | 1 << 16 | told & 0xFFFF)
            s.store32(at, told)
            if fate == FATE_ENDED:
                return True

    def messages(self):
        """Steps R2 to R7 and K1 to K4; each message is released when the next is asked for."""
        s = self.s
        while True:
            while not self.ready():
                if self.tell():
                    s.leave(0)
                    return
                s.sleep(DATA_BELL, lambda: self.ready() or s.load64(NEWS) != self.news)
            at, word = s.at(self.pos), s.load64(s.at(self.pos))
            end = s.next(self.pos, word)
            if not word & SKIP:
                if word & FIRST and self.tell():
                    s.leave(0)
                    return
                if end > self.mark:
                    self.set_mark(end)  # R6: before a byte of it is handed out
                yield s.mem[at + 8:at + 8 + (word & 0xFFFFFFFF)]
            self.pos = end
            s.store64(READ_POS, self.pos)
            s.notify(SPACE_BELL)


def main(argv):
    if len(argv) >= 3 and argv[1] == "send":
        p = Producer(argv[2])
        for text in argv[3:]:
            p.send(text.encode())
            time.sleep(0.02)  # so that the consumer falls asleep in between
        p.close()
    elif len(argv) == 3 and argv[1] == "receive":
        for data in Consumer(argv[2]).messages():
            print(len(data), f"{crc32c(data):08x}", flush=True)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv)
