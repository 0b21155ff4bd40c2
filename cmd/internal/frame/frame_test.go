package frame

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func format(t *testing.T, s string) Format {
	t.Helper()
	var f Format
	require.NoError(t, f.Set(s))
	require.Equal(t, s, f.String())
	return f
}

// all reads every record there is, and the error that ended it.
func all(r *Reader) (records []string, err error) {
	for {
		b, err := r.Next()
		if err != nil {
			return records, err
		}
		records = append(records, string(b))
	}
}

func write(t *testing.T, f Format, records []string) string {
	t.Helper()
	var out bytes.Buffer
	w := bufio.NewWriterSize(&out, 16)
	for _, r := range records {
		require.NoError(t, f.Write(w, []byte(r)))
	}
	require.NoError(t, w.Flush())
	return out.String()
}

func TestRecordsOfAnInput(t *testing.T) {
	for _, c := range []struct {
		name, format, input string
		want                []string
	}{
		{"lines", "line", "a\nbc\n", []string{"a", "bc"}},
		{"last line without newline", "line", "a\nbc", []string{"a", "bc"}},
		{"empty lines", "line", "\n\na\n", []string{"", "", "a"}},
		{"no lines", "line", "", nil},
		{"carriage returns and zeros are data", "line", "a\r\n\x00\n", []string{"a\r", "\x00"}},
		{"len32", "len32", "\x01\x00\x00\x00a\x00\x00\x00\x00\x02\x00\x00\x00\n\xff", []string{"a", "", "\n\xff"}},
		{"no len32", "len32", "", nil},
		{"chunks", "chunk=2", "abcd", []string{"ab", "cd"}},
		{"shorter last chunk", "chunk=3", "abcd", []string{"abc", "d"}},
		{"no chunks", "chunk=3", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := format(t, c.format)
			for name, r := range map[string]io.Reader{
				"whole": strings.NewReader(c.input), "byte by byte": iotest.OneByteReader(strings.NewReader(c.input)),
				"error with the last byte": iotest.DataErrReader(strings.NewReader(c.input)),
			} {
				got, err := all(NewReader(r, f, 100))
				require.Equal(t, io.EOF, err, name)
				require.Equal(t, c.want, got, name)
			}
		})
	}
}

// Whatever is written comes out again, bit by bit, however it is read.
func TestRandomRecordsRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return string(b)
	}
	for round := range 200 {
		longest := 1 + rng.IntN(2000)
		var records []string
		for range rng.IntN(50) {
			records = append(records, random(rng.IntN(longest+1)))
		}
		for _, name := range []string{"line", "len32", "chunk=7"} {
			f := format(t, name)
			want := append([]string(nil), records...)
			if name == "line" {
				for i := range want {
					want[i] = strings.ReplaceAll(want[i], "\n", ".")
				}
			}
			stream := write(t, f, want)
			got, err := all(NewReader(iotest.HalfReader(strings.NewReader(stream)), f, longest))
			require.Equal(t, io.EOF, err)
			if f.Chunk() > 0 {
				require.Equal(t, strings.Join(want, ""), strings.Join(got, ""))
				continue
			}
			require.Equal(t, want, got, "round %d, %s", round, name)
		}
	}
}

func TestRecordLongerThanTheBuffer(t *testing.T) {
	long := strings.Repeat("x", 3*readSize+1)
	for _, name := range []string{"line", "len32"} {
		f := format(t, name)
		got, err := all(NewReader(strings.NewReader(write(t, f, []string{"a", long, "b"})), f, len(long)))
		require.Equal(t, io.EOF, err)
		require.Equal(t, []string{"a", long, "b"}, got)
	}
}

func TestTooLongRecordIsNamed(t *testing.T) {
	for _, c := range []struct {
		name, format, input, want string
		before                    []string
	}{
		{"line", "line", "abc\nabcd\nx\n", "line 2 has 4 bytes, more than 3", []string{"abc"}},
		{"line without end", "line", "a\n" + strings.Repeat("b", 2*readSize), "line 2 is longer than 3 bytes", []string{"a"}},
		{"last line", "line", "abcd", "line 1 is longer than 3 bytes", nil},
		{"len32", "len32", "\x00\x00\x00\x00\xff\xff\xff\xff", "record 2 has 4294967295 bytes, more than 3", []string{""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := all(NewReader(strings.NewReader(c.input), format(t, c.format), 3))
			var long *LongError
			require.ErrorAs(t, err, &long)
			require.EqualError(t, err, c.want)
			require.Equal(t, c.before, got)
		})
	}
}

func TestLongLines(t *testing.T) {
	big := strings.Repeat("y", 2*readSize+1)
	for _, c := range []struct {
		name, input      string
		split, cut, skip []string
		told             []int64
	}{
		{"none", "abc\n\nab", []string{"abc", "", "ab"}, []string{"abc", "", "ab"}, []string{"abc", "", "ab"}, nil},
		{"one", "a\nabcd\nx\n", []string{"a", "abc", "d", "x"}, []string{"a", "abc", "x"}, []string{"a", "x"}, []int64{2}},
		{"no empty piece", "abcdef\n\nx\n", []string{"abc", "def", "", "x"}, []string{"abc", "", "x"}, []string{"", "x"},
			[]int64{1}},
		{"last without newline", "a\nabcdefg", []string{"a", "abc", "def", "g"}, []string{"a", "abc"}, []string{"a"},
			[]int64{2}},
		{"several", "abcde\nabcd\n\nabcd\n", []string{"abc", "de", "abc", "d", "", "abc", "d"},
			[]string{"abc", "abc", "", "abc"}, []string{""}, []int64{1, 2, 4}},
		{"nothing else", "abcd", []string{"abc", "d"}, []string{"abc"}, nil, []int64{1}},
		{"nothing", "", nil, nil, nil, nil},
	} {
		for what, want := range map[Long][]string{LongSplit: c.split, LongCut: c.cut, LongSkip: c.skip} {
			for name, in := range map[string]io.Reader{
				"whole": strings.NewReader(c.input), "byte by byte": iotest.OneByteReader(strings.NewReader(c.input)),
				"error with the last byte": iotest.DataErrReader(strings.NewReader(c.input)),
			} {
				var told []int64
				r := NewReader(in, Format{}, 3)
				r.Long(what, func(line int64) { told = append(told, line) })
				got, err := all(r)
				require.Equal(t, io.EOF, err)
				require.Equal(t, want, got, "%s, %d, %s", c.name, what, name)
				require.Equal(t, c.told, told, "%s, %d, %s", c.name, what, name)
			}
		}
	}
	for what, want := range map[Long]int{LongSplit: len(big)/1000 + 2, LongCut: 2, LongSkip: 1} {
		r := NewReader(strings.NewReader(big+"\nend\n"), Format{}, 1000)
		r.Long(what, nil)
		got, err := all(r)
		require.Equal(t, io.EOF, err)
		require.Len(t, got, want)
		require.Equal(t, "end", got[want-1])
		require.LessOrEqual(t, len(r.buf), readSize, "a long line is not kept")
	}
}

// The pieces of a line stay valid while those behind them are taken, and none is made up.
func TestLongLinesInBatches(t *testing.T) {
	r := NewReader(strings.NewReader("abcdefgh\nx\n"), Format{}, 3)
	r.Long(LongSplit, nil)
	first, err := r.Next()
	require.NoError(t, err)
	got := []string{}
	for record, ok := r.Buffered(); ok; record, ok = r.Buffered() {
		got = append(got, string(record))
	}
	require.Equal(t, []string{"def", "gh", "x"}, got)
	require.Equal(t, "abc", string(first))
}

// A length that no ring takes is more likely no length at all.
func TestLongRecordsOfOtherFramingsAreErrors(t *testing.T) {
	r := NewReader(strings.NewReader("\x04\x00\x00\x00abcd"), format(t, "len32"), 3)
	r.Long(LongSkip, nil)
	_, err := r.Next()
	var long *LongError
	require.ErrorAs(t, err, &long)
}

func TestExactlyTheLongestLinePasses(t *testing.T) {
	for _, input := range []string{"abc\nabc\n", "abc\nabc"} {
		got, err := all(NewReader(iotest.OneByteReader(strings.NewReader(input)), Format{}, 3))
		require.Equal(t, io.EOF, err)
		require.Equal(t, []string{"abc", "abc"}, got)
	}
}

func TestTruncatedLen32(t *testing.T) {
	whole := write(t, format(t, "len32"), []string{"abc", "defg"}) // 7 + 8 bytes
	for cut := 1; cut < 15; cut++ {
		got, err := all(NewReader(strings.NewReader(whole[:cut]), format(t, "len32"), 10))
		if cut == 7 {
			require.Equal(t, io.EOF, err)
			continue
		}
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Len(t, got, min(1, cut/7))
	}
	_, err := all(NewReader(strings.NewReader(whole[:13]), format(t, "len32"), 10))
	require.EqualError(t, err, "input ends inside record 2: 6 of its 8 bytes are there")
}

func TestErrorOfTheInputComesBehindItsRecords(t *testing.T) {
	broken := errors.New("broken")
	in := io.MultiReader(strings.NewReader("a\nb\nc"), iotest.ErrReader(broken))
	r := NewReader(in, Format{}, 10)
	got, err := all(r)
	require.Equal(t, []string{"a", "b"}, got)
	require.Equal(t, broken, err)
	require.Equal(t, "c", string(r.Rest()))
}

func TestBufferedNeverReadsAndKeepsWhatCameBefore(t *testing.T) {
	in := io.MultiReader(strings.NewReader("a\nb\nc\nd"), strings.NewReader("e\nf\n"))
	r := NewReader(in, Format{}, 10)
	first, err := r.Next()
	require.NoError(t, err)
	second, ok := r.Buffered()
	require.True(t, ok)
	third, ok := r.Buffered()
	require.True(t, ok)
	_, ok = r.Buffered()
	require.False(t, ok, "d may go on")
	require.Equal(t, "a b c", string(first)+" "+string(second)+" "+string(third))
	next, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "de", string(next))
}

func TestReaderThatReturnsNothingIsGivenUp(t *testing.T) {
	_, err := NewReader(idle{}, Format{}, 10).Next()
	require.Equal(t, io.ErrNoProgress, err)
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestUnknownFormats(t *testing.T) {
	for _, s := range []string{"", "lines", "chunk", "chunk=", "chunk=0", "chunk=-1", "chunk=x", "LEN32"} {
		var f Format
		require.Error(t, f.Set(s), s)
	}
}

func TestLen32IsLittleEndian(t *testing.T) {
	out := write(t, format(t, "len32"), []string{strings.Repeat("x", 0x0102)})
	require.EqualValues(t, 0x0102, binary.LittleEndian.Uint32([]byte(out)))
	require.Len(t, out, 4+0x0102)
	require.Equal(t, 4, format(t, "len32").Overhead())
}
