module github.com/shmring/shmring

go 1.26.0

require (
	github.com/google/gofuzz v1.2.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/sys v0.49.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect
