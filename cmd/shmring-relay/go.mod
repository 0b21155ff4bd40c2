module github.com/shmring/shmring/cmd/shmring-relay

go 1.26.0

require (
	github.com/nats-io/nats.go v1.55.0
	github.com/shmring/shmring v0.1.0
	github.com/shmring/shmring/cmd v0.1.0
	github.com/shmring/shmring/relay v0.1.0
	github.com/stretchr/testify v1.12.1
	github.com/urfave/cli/v3 v3.14.0
)
