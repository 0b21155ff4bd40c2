package consume

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsThereIsKept(t *testing.T) {
	for _, c := range []struct {
		frame, before, want string
		append, truncate    bool
	}{
		{"line", "a\nb\n", "a\nb\n", false, false},
		{"line", "a\nb", "a\nb\n", false, false},
		{"line", "a\nb", "a\nb\n", true, false},
		{"line", "", "", false, false},
		{"line", "a", "", false, true},
		{"len32", "a", "refused", false, false},
		{"len32", "", "", false, false},
		{"len32", "a", "a", true, false},
		{"chunk=1", "a", "refused", false, false},
		{"chunk=1", "a", "", false, true},
	} {
		name := filepath.Join(t.TempDir(), "out")
		require.NoError(t, os.WriteFile(name, []byte(c.before), 0o600))
		o := &config{file: name, append: c.append, truncate: c.truncate}
		require.NoError(t, o.format.Set(c.frame))
		checked := o.precheck(nil)
		file, err := o.openOutput(t.Context())
		if c.want == "refused" {
			require.ErrorContains(t, checked, "give -append to write behind them, or -truncate to lose them")
			require.EqualError(t, err, checked.Error())
			c.want = c.before
		} else {
			require.NoError(t, checked)
			require.NoError(t, err)
			require.NoError(t, file.Close())
		}
		got, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, c.want, string(got), "%+v", c)
	}
	o := &config{file: filepath.Join(t.TempDir(), "new")}
	require.NoError(t, o.precheck(nil))
	file, err := o.openOutput(t.Context())
	require.NoError(t, err)
	require.NoError(t, file.Close())
}
