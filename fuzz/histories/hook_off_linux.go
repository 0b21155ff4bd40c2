//go:build !killpoint

package main

// hasPoints: this build has no kill points.
const hasPoints = false

// hook does nothing.
func hook(*client) {}
