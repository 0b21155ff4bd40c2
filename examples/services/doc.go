// Package services has what connections of package shmnet carry for others: gRPC and HTTP. It is a
// module of its own, because who uses shmring has no use for gRPC.
package services
