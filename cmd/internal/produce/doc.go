// Package produce is the program producer.
package produce
