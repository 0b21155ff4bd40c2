//go:build !killpoint

package main

// tagged: this build contains no kill points.
const tagged = false
