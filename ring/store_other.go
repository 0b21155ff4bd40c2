//go:build race || !amd64

package ring

import "sync/atomic"

const plainStores = false

func storePlain(at *uint64, w uint64) { atomic.StoreUint64(at, w) }
