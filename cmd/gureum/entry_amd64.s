#include "textflag.h"

// Where the kernel starts the program if it was linked with -E main.entry: it asks for no
// transparent huge pages, prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), and goes on where Go programs
// begin. The stack is as execve(2) left it.
TEXT ·entry(SB), NOSPLIT|NOFRAME, $0
	MOVQ $157, AX
	MOVQ $41, DI
	MOVQ $1, SI
	XORQ DX, DX
	XORQ R10, R10
	XORQ R8, R8
	SYSCALL
	JMP  _rt0_amd64_linux(SB)
