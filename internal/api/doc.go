// Package api has a test only: what the importable packages export is what testdata says. What
// vanishes from there breaks somebody's build, and what appears has to be kept.
package api
