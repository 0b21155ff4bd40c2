package shm

// SealedPrefix begins what a sealed segment has for a name and a path: "memfd:NAME". It is how
// /proc and lsof call it.
const SealedPrefix = "memfd:"
