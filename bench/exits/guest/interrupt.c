/* The interrupt table, shared by both CPUs. */
#include "guest.h"

enum { VECTORS = 256, EXCEPTIONS = 32, GATE_INTERRUPT = 0x8E, CODE64 = 0x18, INVALID_OPCODE = 6, GENERAL_PROTECTION = 13 };

struct gate {
	uint16_t low, selector;
	uint8_t stack, type;
	uint16_t middle;
	uint32_t high, reserved;
};

static struct gate table[VECTORS];
volatile uint64_t resume_at;
volatile bool faulted;

static void set(uint8_t vector, uint64_t at)
{
	table[vector] = (struct gate){at, CODE64, 0, GATE_INTERRUPT, at >> 16, at >> 32, 0};
}

void set_handler(uint8_t vector, void (*handler)(struct frame *)) { set(vector, (uint64_t)handler); }

void awake(struct frame *f)
{
	extern const uint8_t halt_instruction[];
	if (f->ip == (uint64_t)halt_instruction)
		f->ip++;
}

static void exception(struct frame *f, const char *what)
{
	if (resume_at) {
		f->ip = resume_at;
		resume_at = 0;
		faulted = true;
		return;
	}
	print("gureum-exits failed ");
	print(what);
	print(" at ");
	print_hex(f->ip);
	print("\n");
	finish();
}

__attribute__((interrupt)) static void invalid_opcode(struct frame *f) { exception(f, "invalid opcode"); }

__attribute__((interrupt)) static void general_protection(struct frame *f, uint64_t code)
{
	(void)code;
	exception(f, "general protection fault");
}

/* Other exceptions do not happen unless there is an error here, so none is told apart. */
__attribute__((interrupt)) static void unexpected(struct frame *f) { exception(f, "unexpected exception"); }

__attribute__((interrupt)) static void spurious(struct frame *f) { (void)f; }

void interrupts_load(void)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} pointer = {sizeof(table) - 1, (uint64_t)table};
	__asm__ volatile("lidt %0" : : "m"(pointer));
}

/* Firmware may leave its timer running, whose interrupts come by the 8259A. */
enum { PIC_MASK = 0x21, PIC_MASK_SECOND = 0xA1, ALL = 0xFF };

void interrupts_start(void)
{
	outb(PIC_MASK, ALL);
	outb(PIC_MASK_SECOND, ALL);
	for (int i = 0; i < VECTORS; i++)
		set_handler(i, i < EXCEPTIONS ? unexpected : spurious);
	set_handler(INVALID_OPCODE, invalid_opcode);
	set(GENERAL_PROTECTION, (uint64_t)general_protection);
	interrupts_load();
}
