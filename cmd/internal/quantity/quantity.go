// Package quantity reads numbers of bytes as people write them.
package quantity

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Bytes reads a number of bytes like 4096, 64K, 1M or 2G.
func Bytes(s string) (int, error) {
	digits := strings.TrimRight(s, "KMG")
	shift := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30}
	n, err := strconv.ParseUint(digits, 10, 32)
	by, known := shift[s[len(digits):]]
	if err != nil || !known || n<<by > math.MaxInt {
		return 0, errors.New("want a number of bytes like 4096, 64K or 1M")
	}
	return int(n << by), nil
}
