// Package style holds the tests that hold the source to the project's own rules: how
// long functions and lines are, which words are retired, where unsafe may stand, and
// that no file lies about that nobody uses. It contains nothing else.
package style
