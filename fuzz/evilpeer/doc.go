// Command evilpeer is a laboratory for peers that lie. An attacker, in another process than its victim,
// does to the file of the victim's rings what whoever may write it can do, while the victim makes
// calls on them that do not trust it (Options.Untrusted).
//
//	go run ./fuzz/evilpeer -mode all -short     in the gate
//	go run ./fuzz/evilpeer -mode all            10 000 truncations, 1 000 rings with holes
//
// The verdict: the victim lives, every call ends, with an error that says what has happened or for
// the reason that it was given, every Close returns, a healthy ring of the same process loses nothing,
// and nothing is left, neither locks nor files nor semaphores nor descriptors.
package main
