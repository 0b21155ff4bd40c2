//go:build !race

package ring

// plainStores says that storePlain hands over what was written before. On this architecture every
// store does: they become visible in their order. On others the release that they take has
// no price worth a barrier in another process.
const plainStores = true

// storePlain is a store without a barrier. The compiler keeps stores in their order, but promises
// that to nobody: TestPlainStoresComeLast looks at what it has made of them.
func storePlain(at *uint64, w uint64) { *at = w }
