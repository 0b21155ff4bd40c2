package shmring

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCgroupQuota(t *testing.T) {
	for _, test := range []struct {
		name  string
		list  string
		files map[string]string
		want  int
	}{
		{"none", "", nil, 8},
		{"no quota", "0::/a/b\n", map[string]string{"a/b/cpu.max": "max 100000\n", "a/cpu.max": "max 100000\n"}, 8},
		{"one and a half", "0::/a/b\n", map[string]string{"a/b/cpu.max": "150000 100000\n"}, 1},
		{"half", "0::/a\n", map[string]string{"a/cpu.max": "50000 100000\n"}, 0},
		{"of a parent", "0::/a/b\n", map[string]string{"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2},
		{"the smallest", "0::/a/b\n", map[string]string{"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "300000 100000\n"}, 3},
		{"of a container that sees only itself", "0::/../../x\n", map[string]string{"cpu.max": "100000 100000\n"}, 1},
		{"version 1", "5:memory:/a\n4:cpu,cpuacct:/a\n",
			map[string]string{"cpu/a/cpu.cfs_quota_us": "200000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 2},
		{"version 1 without", "4:cpu,cpuacct:/a\n",
			map[string]string{"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 8},
		{"nonsense", "0::/\n::\nx\n", map[string]string{"cpu.max": "many 0\n"}, 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			list := filepath.Join(dir, "list")
			require.NoError(t, os.WriteFile(list, []byte(test.list), 0o600))
			for name, text := range test.files {
				name = filepath.Join(dir, "mount", name)
				require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
				require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
			}
			require.Equal(t, test.want, cgroupQuota(list, filepath.Join(dir, "mount"), 8))
		})
	}
	require.Positive(t, paidCPUs())
	require.Equal(t, 8, cgroupQuota(filepath.Join(t.TempDir(), "nothing"), "/", 8))
}
