// Package services has what connections of package shmnet carry for others, gRPC and HTTP, and what rings do:
// protocol buffers and FlatBuffers. It is a module of its own, because who uses shmring has no use for those.
package services
