//go:build race

package ring

import "github.com/shmring/shmring/layout"

// glance is a plain load where the race detector watches, and it does not watch this one: who
// looks from outside may find payload, which is not written atomically, where a word was.
func (a *area) glance(pos uint64) layout.Record { return layout.Record(glanceAt(a.word(pos))) }

// glanceAt is glance of any word of a record.
//
//go:norace
func glanceAt(at *uint64) uint64 { return *at }
