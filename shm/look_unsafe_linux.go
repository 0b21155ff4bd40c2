package shm

import "golang.org/x/sys/unix"

// mapReadOnly maps the first size bytes of fd, shared, for loads only.
func mapReadOnly(fd, size int) (mapping, error) {
	base, err := unix.MmapPtr(fd, 0, nil, uintptr(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return mapping{}, err
	}
	return mapping{base, size}, nil
}
