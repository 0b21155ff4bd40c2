#include "textflag.h"

// func ForWriting(at unsafe.Pointer, lines int)
TEXT ·ForWriting(SB), NOSPLIT|NOFRAME, $0-16
	MOVQ at+0(FP), AX
	MOVQ lines+8(FP), CX
loop:
	BYTE $0x0F; BYTE $0x0D; BYTE $0x08 // PREFETCHW (AX)
	ADDQ $64, AX
	DECQ CX
	JG   loop
	RET
