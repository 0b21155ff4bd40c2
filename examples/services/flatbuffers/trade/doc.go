// Package trade is what flatc makes of trade.fbs.
package trade

//go:generate flatc --go -o .. trade.fbs
//go:generate mv Trade.go trade.go
