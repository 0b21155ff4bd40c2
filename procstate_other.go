//go:build !linux

package shmring

// processes finds nobody.
type processes struct{}

func (*processes) find(int, uint64, uint64, uint64) (here int, state ProcessState) {
	return 0, ProcessUnknown
}
