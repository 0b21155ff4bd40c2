package shm_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/shm"
)

func TestValidateNameAccepts(t *testing.T) {
	for _, name := range []string{"a", "Z9", "orders.v2", "a_b-c", "-", "_", "a..b", strings.Repeat("x", shm.MaxName)} {
		require.NoError(t, shm.ValidateName(name), name)
	}
}

func TestValidateNameRefuses(t *testing.T) {
	for _, name := range []string{
		"", ".", "..", ".hidden", "../escape", "a/b", "/etc/passwd", `a\b`, "a b", "a\x00b", "a\nb", "é", "a:b", "a*",
		strings.Repeat("x", shm.MaxName+1), strings.Repeat("../", 5000),
	} {
		err := shm.ValidateName(name)
		require.ErrorIs(t, err, fs.ErrInvalid, "%q", name)
		typed, ok := errors.AsType[*shm.NameError](err)
		require.True(t, ok)
		require.Equal(t, name, typed.Name)
		require.Less(t, len(err.Error()), 400)

		_, err = shm.Path(name, nil)
		require.ErrorAs(t, err, &typed, "%q", name)
	}
}

func TestPathPrefersOptionThenEnvironmentThenDefault(t *testing.T) {
	// On Windows an absolute path has a drive letter, so compare with what the platform makes of it.
	want := func(dir string) string {
		abs, err := filepath.Abs(dir)
		require.NoError(t, err)
		return filepath.Join(abs, "orders.shmring")
	}
	for _, c := range []struct{ option, env, want string }{
		{"/srv/rings", "/run/app", want("/srv/rings")},
		{"", "/run/app", want("/run/app")},
		{"", "", want(shm.DefaultDir)},
		{"relative", "", want("relative")},
	} {
		t.Setenv(shm.EnvDir, c.env)
		got, err := shm.Path("orders", &shm.Options{Dir: c.option})
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	t.Setenv(shm.EnvDir, "")
	got, err := shm.Path("orders", nil)
	require.NoError(t, err)
	require.Equal(t, want(shm.DefaultDir), got)
}
