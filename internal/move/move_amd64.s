//go:build !race

#include "textflag.h"

// func stringMove(dst, src []byte)
TEXT ·stringMove(SB), NOSPLIT|NOFRAME, $0-48
	MOVQ dst_base+0(FP), DI
	MOVQ src_base+24(FP), SI
	MOVQ src_len+32(FP), CX
	REP; MOVSB
	RET
