module github.com/shmring/shmring/examples/services

go 1.26.0

require (
	github.com/shmring/shmring v0.0.0-00010101000000-000000000000
	golang.org/x/net v0.62.0
)

require golang.org/x/sys v0.49.0 // indirect

replace github.com/shmring/shmring => ../../
