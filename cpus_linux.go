package shmring

import (
	"bufio"
	"bytes"
	"os"
	"path"
	"strconv"
	"strings"
)

// manyCPUs is more than anybody has.
const manyCPUs = 1 << 20

// paidCPUs is how many processors the quota of this process's control groups pays for. Who
// spins on the last one is stopped, with all its threads, for the rest of the period. On how
// many the process may run does not matter: one that is kept to a processor of its own may
// spin there as well as any, and whether the peer is on the same is seen when it waits.
func paidCPUs() int { return max(1, cgroupQuota("/proc/self/cgroup", "/sys/fs/cgroup", manyCPUs)) }

// cgroupQuota is the smallest quota of the process's control groups, in whole
// processors; most where there is none. It understands versions 1 and 2 in their usual
// places.
func cgroupQuota(list, mount string, most int) int {
	b, err := os.ReadFile(list)
	if err != nil {
		return most
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		// hierarchy:controllers:path; version 2 has no controllers
		_, rest, _ := strings.Cut(s.Text(), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		root, quota := mount, quota2
		if controllers != "" {
			if !strings.Contains(","+controllers+",", ",cpu,") {
				continue
			}
			root, quota = path.Join(mount, "cpu"), quota1
		}
		// A group also has to live with the quotas of those around it. In a container the
		// path may lead out of what is mounted, whose root is then our group.
		for group = path.Clean("/" + group); ; group = path.Dir(group) {
			if n, ok := quota(path.Join(root, group)); ok {
				most = min(most, n)
			}
			if group == "/" {
				break
			}
		}
	}
	return most
}

func quota2(dir string) (int, bool) {
	b, err := os.ReadFile(path.Join(dir, "cpu.max"))
	if err != nil {
		return 0, false
	}
	quota, period, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	return share(quota, period)
}

func quota1(dir string) (int, bool) {
	quota, err := os.ReadFile(path.Join(dir, "cpu.cfs_quota_us"))
	if err != nil {
		return 0, false
	}
	period, err := os.ReadFile(path.Join(dir, "cpu.cfs_period_us"))
	if err != nil {
		return 0, false
	}
	return share(strings.TrimSpace(string(quota)), strings.TrimSpace(string(period)))
}

// share is quota/period rounded down; "max" and -1 are no quota.
func share(quota, period string) (int, bool) {
	q, err := strconv.ParseInt(quota, 10, 64)
	if err != nil || q < 0 {
		return 0, false
	}
	p, err := strconv.ParseInt(period, 10, 64)
	if err != nil || p <= 0 {
		return 0, false
	}
	return int(min(q/p, manyCPUs)), true
}
