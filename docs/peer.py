#!/usr/bin/env python3
"""A peer of shmring in another language, written from LAYOUT.md alone. It shows that the page is enough.

    peer.py send FILE TEXT ...    be the producer of an SPSC ring: send each TEXT, end the stream, leave
    peer.py receive FILE          be the consumer of an SPSC ring: print each message, until the stream ends

It needs Linux on amd64, OFD locks and the doorbell futex. Two atomic instructions that Python does not
have are eleven bytes of machine code. It does little: no padding is sent, and the death of a peer is not noticed.
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
            b"\x48\x87\x37\xc3")             # xchg [rdi],rsi; ret
_at = ctypes.addressof(ctypes.c_char.from_buffer(_code))
_cas32 = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)(_at)
_xchg64 = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64)(_at + 7)
_libc = ctypes.CDLL(None, use_errno=True)
FUTEX, WAIT, WAKE = 202, 0, 1  # never with the PRIVATE flag: section 11.1
M64 = 2**64 - 1


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
            "major": major == 2,
            "incompat": incompat == 0,  # and so OFD locks
            "checksum": checksum == crc32c(head[:56] + head[64:]),
            "slots": 8 <= self.slots <= 2**30 and self.slots & (self.slots - 1) == 0,
            "descriptors": self.d == head_size == up(768 + 256 * self.participants),
            "payload": self.p == up(self.d + 64 * self.slots),
            "size": size == ours.st_size == up(self.p + self.slots * self.slot_size),
            "doorbell": self.doorbell == 1,
            "kind": self.kind == 1,
        }
        for what, good in check.items():
            if not good:
                raise SystemExit(f"{path}: {what} is not what this peer speaks")

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
        """Steps T1 to T8. It returns whether the slot was taken over, and from whom."""
        self.lock(i)
        at = 768 + 256 * i
        state, former = self.load32(at), (self.load32(at + 4), self.load32(at + 12))
        self.store32(at + 8, role)
        self.store32(at + 12, os.getpid())
        self.store32(at + 4, former[0] + 1)
        self.store32(at, 1)  # Used
        return state in (1, 2, 4), former

    def leave(self, i):
        """Steps L2 to L4, of a consumer or an SPSC producer."""
        self.store32(768 + 256 * i, 2)
        self.store32(768 + 256 * i, 0)
        os.close(self.fd)

    def lap(self, pos):
        return (1 + pos // self.slots) % 2**42

    def ctl(self, pos):
        return self.d + 64 * (pos % self.slots)

    def where(self, pos, n):
        """Where the n bytes of the record at pos lie: section 4."""
        return self.ctl(pos) + 16 if n <= 48 else self.p + self.slot_size * (pos % self.slots)

    def notify(self, bell):
        """Steps N1 to N4."""
        for _ in range(2):
            word = self.load32(bell)
            if word & 3 == 0:
                return
            if _cas32(self.base + bell, word, (word + 4) & ~3 & 0xFFFFFFFF) == word:
                if word & 1:
                    _libc.syscall(FUTEX, ctypes.c_void_p(self.base + bell), WAKE, 2**31 - 1, None, None, 0)
                if word & 2:
                    os.pread(self.fd, 1, 0)
                return

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


DATA_BELL, SPACE_BELL, READ_POS = 384, 512, 256
END, BATCH, DEATH = 1, 2, 4


class Producer:
    def __init__(self, path):
        self.s = s = Segment(path)
        took_over, former = s.take(1, 2)
        self.epoch = s.load32(768 + 256 + 4)
        self.pos = read = s.load64(READ_POS)
        while self.pos - read < s.slots:  # its own position: the end of 6.3
            v = s.load64(s.ctl(self.pos))
            if v >> 22 != s.lap(self.pos) or v & 3 < 2:
                break
            self.pos += v >> 10 & 0xFFF
        if took_over:
            self.send(struct.pack("=II", *former), DEATH)

    def send(self, data, flags=0):
        """Steps S1 to S6."""
        s, n = self.s, len(data)
        k = 1 if n <= max(48, s.slot_size) else -(-n // s.slot_size)
        if k > s.slots - self.pos % s.slots:
            raise SystemExit("this peer does not pad")
        while self.pos + k - s.load64(READ_POS) > s.slots:
            s.sleep(SPACE_BELL, lambda: self.pos + k - s.load64(READ_POS) <= s.slots)
        at = s.where(self.pos, n)
        s.mem[at:at + n] = data
        struct.pack_into("=Q", s.mem, s.ctl(self.pos) + 8, n | flags << 48)
        s.store64(s.ctl(self.pos), s.lap(self.pos) << 22 | k << 10 | 1 << 2 | 2)
        self.pos += k
        s.notify(DATA_BELL)

    def close(self):
        """Section 9, and leave."""
        self.send(struct.pack("=I", self.epoch), END)
        self.s.store32(768 + 256, 3)  # Ended; nobody else changes it while we hold the lock of an SPSC ring
        self.s.leave(1)


class Consumer:
    def __init__(self, path):
        self.s = s = Segment(path)
        s.take(0, 1)
        self.pos = s.load64(READ_POS)  # R1
        self.mark = s.load64(768 + 40)
        if (self.mark - self.pos) & M64 > s.slots:
            self.set_mark(self.pos)

    def set_mark(self, pos):
        self.mark = pos
        self.s.store64(768 + 40, pos)

    def ready(self):
        v = self.s.load64(self.s.ctl(self.pos))
        return v >> 22 == self.s.lap(self.pos) and v & 3 >= 2

    def messages(self):
        """Steps R2 to R6 and K1 to K4; each message is released when the next is asked for."""
        s = self.s
        while True:
            while not self.ready():
                s.sleep(DATA_BELL, self.ready)
            h, v = self.pos, s.load64(s.ctl(self.pos))
            k = v >> 10 & 0xFFF
            if not 1 <= k <= s.slots - h % s.slots:
                raise SystemExit("corrupt: slots")
            if v & 3 == 2:
                meta = s.load64(s.ctl(h) + 8)
                n, flags = meta & 0xFFFFFFFF, meta >> 48
                if n > max(48, k * s.slot_size):
                    raise SystemExit("corrupt: length")
                if flags in (0, BATCH) and h + k > self.mark:
                    self.set_mark(h + k)  # R6: before a byte of it is handed out
                data = s.mem[s.where(h, n):s.where(h, n) + n]
                if flags == 0:
                    yield data
                while flags == BATCH and data:
                    n = struct.unpack_from("=I", data)[0]
                    yield data[8:8 + n]
                    data = data[8 + (n + 7 & ~7):]
            self.pos = h + k
            s.store64(READ_POS, self.pos)
            s.notify(SPACE_BELL)
            if v & 3 == 2 and flags == END:
                s.leave(0)
                return


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
