package recording

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

var about = Header{Ring: "r", UUID: "u", Kind: "spsc", MaxMessage: 100}

// entry makes the i-th message, of i%7 × 11 bytes.
func entry(i int) Entry {
	return Entry{
		Time:     time.Unix(1700000000, int64(i)),
		Position: shmring.Position{Record: uint64(i) << 40, Index: uint32(i)},
		Kind:     uint16(i * 7919), Sequence: uint64(i) + 1<<50, Missed: uint64(i % 3),
		Bytes: bytes.Repeat([]byte{byte(i)}, i%7*11),
	}
}

// same reports whether a message is the i-th.
func same(t *testing.T, i int, e Entry) {
	t.Helper()
	want := entry(i)
	require.True(t, want.Time.Equal(e.Time))
	require.True(t, bytes.Equal(want.Bytes, e.Bytes))
	e.Time, e.Bytes = want.Time, want.Bytes
	require.Equal(t, want, e)
}

// record makes a recording of n messages and returns its path.
func record(t *testing.T, n int, limits Limits) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rec")
	w, err := Create(path, about, limits)
	require.NoError(t, err)
	write(t, w, 0, n)
	require.NoError(t, w.Close(End{Time: time.Unix(5, 0), Reason: "done", Missed: 9}))
	return path
}

func write(t *testing.T, w *Writer, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		require.NoError(t, w.Write(entry(i)))
	}
}

// readAll requires the messages from first on and returns how many there are.
func readAll(t *testing.T, path string, first int) (int, *Recording) {
	t.Helper()
	r, err := Open(path)
	require.NoError(t, err)
	for n := 0; ; n++ {
		e, err := r.Next()
		if err == io.EOF {
			_, err = r.Next()
			require.Equal(t, io.EOF, err)
			return n, r
		}
		require.NoError(t, err)
		same(t, first+n, e)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, n := range []int{0, 1, 2, 10000} {
		path := record(t, n, Limits{})
		got, r := readAll(t, path, 0)
		require.Equal(t, n, got)
		require.Equal(t, &End{time.Unix(5, 0), "done", 9}, r.End())
		require.Zero(t, r.Torn())
		require.Equal(t, "r", r.Header.Ring)
		require.Equal(t, 1, r.Header.Part)
		require.NoFileExists(t, path+".new")
	}
}

// Whatever a file ends with, what is whole before it can be read.
func TestCutAnywhere(t *testing.T) {
	whole, err := os.ReadFile(record(t, 20, Limits{}))
	require.NoError(t, err)
	ends := endsOf(t, whole)
	for cut := range whole {
		r, err := NewReader(bytes.NewReader(whole[:cut]), "x")
		if cut < ends[0] {
			require.ErrorIs(t, err, ErrFormat, cut)
			continue
		}
		require.NoError(t, err)
		n := 0
		for ; ; n++ {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			same(t, n, e)
		}
		want := 0
		for want < 20 && ends[want+1] <= cut {
			want++
		}
		require.Equal(t, want, n, "cut at %d", cut)
		require.EqualValues(t, cut-ends[want], r.Torn())
		require.EqualValues(t, ends[want], r.Whole())
		require.Nil(t, r.End())
	}
}

// endsOf returns the offsets behind the header and each item.
func endsOf(t *testing.T, file []byte) (ends []int) {
	r, err := NewReader(bytes.NewReader(file), "x")
	require.NoError(t, err)
	ends = append(ends, int(r.Whole()))
	for {
		if _, err := r.Next(); err == io.EOF {
			return ends
		}
		require.NoError(t, err)
		ends = append(ends, int(r.Whole()))
	}
}

// A byte that is not what it was is noticed, and the error says in which item.
func TestDamageAnywhere(t *testing.T) {
	whole, err := os.ReadFile(record(t, 20, Limits{}))
	require.NoError(t, err)
	ends := endsOf(t, whole)
	for at := range whole {
		for _, flip := range []byte{1, 0x80, 0xff} {
			bad := bytes.Clone(whole)
			bad[at] ^= flip
			n, err := drain(bad)
			if at < ends[0] {
				require.Error(t, err, at)
				continue
			}
			require.ErrorIs(t, err, shmring.ErrCorrupt, "byte %d", at)
			damaged := err.(*CorruptError)
			item := 0
			for item < 20 && ends[item+1] <= at {
				item++
			}
			require.Equal(t, item, n)
			require.EqualValues(t, ends[item], damaged.Offset)
		}
	}
}

// drain counts messages up to an error.
func drain(file []byte) (n int, err error) {
	r, err := NewReader(bytes.NewReader(file), "x")
	for ; err == nil; n++ {
		if _, err = r.Next(); err != nil {
			break
		}
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

func TestTailOfZerosIsTorn(t *testing.T) {
	whole, err := os.ReadFile(record(t, 5, Limits{}))
	require.NoError(t, err)
	for _, zeros := range []int{1, itemBase - 1, itemBase, itemBase + 1, 4096, 3 * bufferSize} {
		r, err := NewReader(bytes.NewReader(append(bytes.Clone(whole), make([]byte, zeros)...)), "x")
		require.NoError(t, err)
		for err == nil {
			_, err = r.Next()
		}
		require.Equal(t, io.EOF, err)
		require.EqualValues(t, zeros, r.Torn())
		require.EqualValues(t, len(whole), r.Whole())
		require.Equal(t, "done", r.End().Reason)
	}
	_, err = drain(append(append(bytes.Clone(whole), make([]byte, 4096)...), 1))
	require.ErrorIs(t, err, shmring.ErrCorrupt)
}

// A length that is not true takes no memory.
func TestLongLengthTakesNoMemory(t *testing.T) {
	path := record(t, 0, Limits{})
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	it := appendItem(nil, item{}, nil)
	copy(it[4:], []byte{0xff, 0xff, 0xff, 0xff})
	sum := checksum(it[4:])
	it[0], it[1], it[2], it[3] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	r, err := NewReader(bytes.NewReader(append(b, it...)), path)
	require.NoError(t, err)
	_, err = r.Next()
	require.Equal(t, io.EOF, err, "a torn tail")
	require.Less(t, cap(r.buf), 3*bufferSize)
}

func TestRotation(t *testing.T) {
	path := record(t, 1000, Limits{Size: 4096, Keep: 0})
	parts, err := partsOf(path)
	require.NoError(t, err)
	require.Greater(t, len(parts), 20)
	for _, p := range parts {
		info, err := os.Stat(p.path)
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(4096+itemBase+len("rotated")))
	}
	n, r := readAll(t, path, 0)
	require.Equal(t, 1000, n)
	require.Equal(t, "done", r.End().Reason)

	// A part alone is a recording too.
	one, err := Open(parts[1].path)
	require.NoError(t, err)
	e, err := one.Next()
	require.NoError(t, err)
	require.NotEqual(t, entry(0).Sequence, e.Sequence)
	require.NoError(t, one.Close())

	// One that is missing in the middle is noticed.
	require.NoError(t, os.Remove(parts[5].path))
	r, err = Open(path)
	require.NoError(t, err)
	for err == nil {
		_, err = r.Next()
	}
	require.ErrorIs(t, err, shmring.ErrCorrupt)
	require.ErrorContains(t, err, "stands behind part 5")
}

func TestOldPartsGo(t *testing.T) {
	path := record(t, 1000, Limits{Size: 4096, Keep: 3})
	parts, err := partsOf(path)
	require.NoError(t, err)
	require.Len(t, parts, 4)
	r, err := Open(path)
	require.NoError(t, err)
	e, err := r.Next()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	first := int(e.Sequence - entry(0).Sequence)
	n, _ := readAll(t, path, first)
	require.Equal(t, 1000-first, n)
}

// A message that is longer than a part may be has a part of its own.
func TestLongMessageIsRotatedAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rec")
	w, err := Create(path, about, Limits{Size: 1000})
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, w.Write(Entry{Bytes: make([]byte, 5000)}))
	}
	require.NoError(t, w.Close(End{}))
	require.Equal(t, 2, w.Rotated)
	parts, err := partsOf(path)
	require.NoError(t, err)
	require.Len(t, parts, 3)
}

func TestNothingIsOverwritten(t *testing.T) {
	path := record(t, 3, Limits{})
	_, err := Create(path, about, Limits{})
	require.ErrorIs(t, err, fs.ErrExist)
	require.NoError(t, os.Rename(path, partName(path, 7)))
	_, err = Create(path, about, Limits{})
	require.ErrorIs(t, err, fs.ErrExist)
	require.NoError(t, os.Remove(partName(path, 7)))
	require.NoError(t, os.Mkdir(path, 0o700))
	_, err = Create(path, about, Limits{})
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = Create(filepath.Join(path, "no", "where"), about, Limits{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = Open(filepath.Join(path, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// Appending goes on behind what is whole, wherever the writer before was killed, between the steps of a rotation too.
func TestAppend(t *testing.T) {
	path := record(t, 100, Limits{})
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	ends := endsOf(t, whole)
	for _, cut := range []int{ends[0], ends[0] + 1, ends[50] - 1, ends[50], ends[50] + itemBase, len(whole)} {
		require.NoError(t, os.WriteFile(path, whole[:cut], 0o600))
		w, last, err := Append(path, about, Limits{})
		require.NoError(t, err)
		from := 0
		if last != nil {
			from = int(last.Sequence-entry(0).Sequence) + 1
		}
		write(t, w, from, 200)
		require.NoError(t, w.Close(End{}))
		n, r := readAll(t, path, 0)
		require.Equal(t, 200, n)
		require.NotNil(t, r.End())
	}

	require.NoError(t, os.Rename(path, partName(path, 1)))
	w, last, err := Append(path, about, Limits{})
	require.NoError(t, err)
	require.Equal(t, entry(199).Sequence, last.Sequence)
	require.NoError(t, w.Flush()) // a part without a message
	w, last, err = Append(path, about, Limits{})
	require.NoError(t, err)
	require.Equal(t, entry(199).Sequence, last.Sequence)
	write(t, w, 200, 300)
	require.NoError(t, w.Close(End{}))
	n, _ := readAll(t, path, 0)
	require.Equal(t, 300, n)

	bad := bytes.Clone(whole)
	bad[ends[3]+5]++
	require.NoError(t, os.Remove(partName(path, 1)))
	require.NoError(t, os.WriteFile(path, bad, 0o600))
	_, _, err = Append(path, about, Limits{})
	require.ErrorIs(t, err, shmring.ErrCorrupt)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, bad, after, "what is damaged is left as it is")

	fresh := filepath.Join(t.TempDir(), "fresh")
	w, last, err = Append(fresh, about, Limits{})
	require.NoError(t, err)
	require.Nil(t, last)
	require.NoError(t, w.Close(End{}))
}

// broken is a file that takes so many bytes.
func TestFileThatTakesNoMore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rec")
	w, err := Create(path, about, Limits{})
	require.NoError(t, err)
	write(t, w, 0, 10)
	require.NoError(t, w.Flush())
	size := w.size
	write(t, w, 10, 20)
	limitFiles(t, size+int64(len(w.buf))/2)
	err = w.Flush()
	failed, ok := errors.AsType[*WriteError](err)
	require.True(t, ok, "%v", err)
	n, r := readAll(t, path, 0)
	require.Equal(t, 20, n+failed.Lost)
	require.Greater(t, n, 10)
	require.Less(t, n, 20)
	require.Zero(t, r.Torn(), "it was cut behind the last whole one")
}

// A part that cannot be begun: what was written is whole, the message that waited is lost, and Close says no more.
func TestRotationThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rec")
	w, err := Create(path, about, Limits{Size: 2000})
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(path+".new", 0o700))
	n := 0
	for ; err == nil; n++ {
		err = w.Write(entry(n))
	}
	failed, ok := errors.AsType[*WriteError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, 1, failed.Lost)
	require.NoError(t, w.Close(End{Reason: "error"}))
	require.EqualValues(t, n-1, w.Messages)
	got, r := readAll(t, partName(path, 1), 0)
	require.Equal(t, n-1, got)
	require.Zero(t, r.Torn())
}

func FuzzReader(f *testing.F) {
	for _, n := range []int{0, 1, 5} {
		var b []byte
		head, err := about.encode()
		require.NoError(f, err)
		b = append(b, head...)
		for i := range n {
			e := entry(i)
			b = appendItem(b, item{kind: e.Kind, index: 3, sequence: e.Sequence}, e.Bytes)
		}
		f.Add(b, uint16(0), byte(0))
		f.Add(appendItem(b, item{what: isEnd}, []byte("end")), uint16(20), byte(1))
	}
	f.Fuzz(func(t *testing.T, file []byte, at uint16, flip byte) {
		if int(at) < len(file) {
			file[at] ^= flip
		}
		r, err := NewReader(bytes.NewReader(file), "x")
		if err != nil {
			return
		}
		for n := 0; ; n++ {
			_, err := r.Next()
			_, again := r.Next()
			_ = again
			if n > len(file) {
				t.Fatal("it does not end")
			}
			if err == io.EOF {
				if r.Whole()+r.Torn() != int64(len(file)) {
					t.Fatalf("whole %d, torn %d, of %d bytes", r.Whole(), r.Torn(), len(file))
				}
				return
			}
			if damaged := (*CorruptError)(nil); errors.As(err, &damaged) {
				if damaged.Offset != r.Whole() || damaged.Offset > int64(len(file)) {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func ExampleReader() {
	var b bytes.Buffer
	head, _ := Header{Ring: "jobs", Part: 1}.encode()
	b.Write(appendItem(head, item{kind: 3, sequence: 1}, []byte("hello")))
	b.WriteString("torn")
	r, err := NewReader(&b, "jobs.rec")
	if err != nil {
		fmt.Println(err)
		return
	}
	for {
		e, err := r.Next()
		if err != nil {
			fmt.Println(err, r.Torn())
			return
		}
		fmt.Printf("%d %d %s\n", e.Sequence, e.Kind, e.Bytes)
	}
	// Output:
	// 1 3 hello
	// EOF 4
}
