package shm

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a huge page: where a mapping begins at a multiple of it, the whole
// ones inside can be such pages.
var hugePage = readHugePage()

func readHugePage() int {
	const usual = 2 << 20
	text, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
	n, parseErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || parseErr != nil || n <= 0 || n&(n-1) != 0 {
		return usual
	}
	return n
}

// hugePages makes huge pages of the pages that a mapping has, as far as whole ones fit in. The
// kernel does it at once (MADV_COLLAPSE, Linux 6.1), whatever shmem_enabled says.
func hugePages(mem []byte) Outcome {
	how := Outcome{Asked: true, How: "MADV_COLLAPSE"}
	whole := len(mem) / hugePage * hugePage
	if whole == 0 {
		how.Err = fmt.Errorf("the segment has %d bytes, a huge page has %d", len(mem), hugePage)
		return how
	}
	err := uninterrupted(func() error { return sys.madvise(mem[:whole], unix.MADV_COLLAPSE) })
	switch {
	case errors.Is(err, unix.EINVAL):
		err = fmt.Errorf("%w: it needs Linux 6.1 with huge pages in files in memory (CONFIG_TRANSPARENT_HUGEPAGE)", err)
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.EAGAIN):
		err = fmt.Errorf("%w: no %d bytes in a row for a huge page", err, hugePage)
	}
	how.Err = err
	return how
}
