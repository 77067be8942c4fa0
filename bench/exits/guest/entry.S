/*
 * The way into the guest and the way of its second CPU: from 32-bit protected mode
 * without paging (PVH: Xen's docs/misc/pvh.pandoc) or from real mode (a start-up IPI) to
 * long mode with the first 4 GiB mapped to themselves.
 */

#define CODE32 0x08
#define DATA   0x10
#define CODE64 0x18

#define CR0_PE   (1 << 0)
#define CR0_PG   (1 << 31)
#define CR4_PAE  (1 << 5)
#define EFER     0xC0000080
#define EFER_LME (1 << 8)

#define PRESENT_WRITABLE 0x03
#define LARGE_PAGE       0x80
#define LARGE_PAGE_SIZE  0x200000
#define TABLES_4G        4
#define STACK            16384

/* XEN_ELFNOTE_PHYS32_ENTRY (Xen's public/elfnote.h). */
	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 4, 18
	.asciz "Xen"
	.long start32

	.text

/* longmode LABEL: with the page tables made, go on at LABEL in 64-bit code. */
.macro longmode label
	movl $pml4, %eax
	movl %eax, %cr3
	movl %cr4, %eax
	orl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl %cr0, %eax
	orl $(CR0_PG | CR0_PE), %eax
	movl %eax, %cr0
	ljmp $CODE64, $\label
.endm

.macro segments
	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
.endm

/* %ebx is the address of struct hvm_start_info. */
	.code32
	.globl start32
start32:
	cli
	cld
	lgdt gdt_pointer
	ljmp $CODE32, $1f
1:	segments
	movl %ebx, %ebp
	movl $(pdpt + PRESENT_WRITABLE), pml4
	xorl %ecx, %ecx
2:	movl %ecx, %eax
	shll $12, %eax
	addl $(pd + PRESENT_WRITABLE), %eax
	movl %eax, pdpt(, %ecx, 8)
	incl %ecx
	cmpl $TABLES_4G, %ecx
	jb 2b
	xorl %ecx, %ecx
	movl $(PRESENT_WRITABLE | LARGE_PAGE), %eax
3:	movl %eax, pd(, %ecx, 8)
	addl $LARGE_PAGE_SIZE, %eax
	incl %ecx
	cmpl $(TABLES_4G * 512), %ecx
	jb 3b
	longmode start64

	.code64
start64:
	movl $boot_stack + STACK, %esp
	movl %ebp, %edi
	call guest_main
1:	hlt
	jmp 1b

	.globl halt, halt_instruction
halt:
	sti
halt_instruction:
	hlt
	cli
	ret

/* What is copied to TRAMPOLINE, where the second CPU begins in real mode. */
	.code16
	.globl trampoline, trampoline_end
trampoline:
	cli
	movw %cs, %ax
	movw %ax, %ds
	lgdtl trampoline_gdt - trampoline
	movl %cr0, %eax
	orl $CR0_PE, %eax
	movl %eax, %cr0
	ljmpl $CODE32, $second32
	.balign 4
trampoline_gdt:
	.word gdt_end - gdt - 1
	.long gdt
trampoline_end:

	.code32
second32:
	segments
	longmode second64

	.code64
second64:
	/* One takes the part; were there more, they halt for ever. */
	movl $1, %eax
	xchgl %eax, second_taken
	testl %eax, %eax
	jnz 1f
	movl $second_stack + STACK, %esp
	call second_main
1:	cli
	hlt
	jmp 1b

	.section .rodata
	.balign 8
gdt:
	.quad 0
	.quad 0x00CF9B000000FFFF	/* CODE32: flat */
	.quad 0x00CF93000000FFFF	/* DATA: flat */
	.quad 0x00AF9B000000FFFF	/* CODE64 */
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt

	.bss
	.balign 4096
	.globl pml4
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip TABLES_4G * 4096
boot_stack: .skip STACK
second_stack: .skip STACK
second_taken: .skip 4

	.section .note.GNU-stack, "", @progbits
