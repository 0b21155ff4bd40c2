// Package trade is what protoc makes of trade.proto.
package trade

//go:generate protoc --go_out=. --go_opt=paths=source_relative trade.proto
//go:generate mv trade.pb.go trade_pb_unsafe.go
