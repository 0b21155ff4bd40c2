// Package seccomp has the kernel refuse system calls to this process: for laboratories and tests of what to do
// without them.
package seccomp
