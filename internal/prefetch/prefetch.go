// Package prefetch asks for cache lines before they are written.
package prefetch

// Line is how far one prefetched line lies behind the other.
const Line = 64
