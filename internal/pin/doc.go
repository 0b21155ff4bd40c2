// Package pin ties the calling thread to one processor.
package pin
