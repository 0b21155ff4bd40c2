// Package consume is the program consumer.
package consume
