// Package host knows what measurements and doctors have to say of a machine: how many
// processors there are for us, and what else they do.
package host
