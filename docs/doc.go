// Package docs holds the project's papers and the tests that hold them to the source.
package docs
