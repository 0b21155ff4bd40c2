//go:build invariants

package ring

// invariants makes every call check its handle's own state when it ends, and panic where
// that cannot be.
const invariants = true
