/* Output on the first serial port, and the guest's end. */
#include "guest.h"

/* A 16550A (its data sheet): registers from COM1, and bits. */
enum {
	COM1 = 0x3F8,
	REG_DATA = 0,
	REG_INTERRUPTS = 1,
	REG_FIFO = 2,
	REG_LINE = 3,
	REG_STATUS = 5,
	FIFO_ON = 1,
	LINE_8N1 = 3,
	STATUS_EMPTY = 0x20,
	FIFO_BYTES = 16,
};

static int room;

void serial_start(void)
{
	outb(COM1 + REG_INTERRUPTS, 0);
	outb(COM1 + REG_LINE, LINE_8N1);
	outb(COM1 + REG_FIFO, FIFO_ON);
}

/* put asks whether there is room only when the FIFO may be full: each access is an exit. */
static void put(char c)
{
	if (room == 0) {
		while (!(inb(COM1 + REG_STATUS) & STATUS_EMPTY))
			;
		room = FIFO_BYTES;
	}
	room--;
	outb(COM1 + REG_DATA, c);
}

void print(const char *text)
{
	for (; *text; text++)
		put(*text);
}

static void print_number(uint64_t v, unsigned base)
{
	char digits[20];
	int n = 0;
	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (n > 0)
		put(digits[--n]);
}

void print_hex(uint64_t v) { print_number(v, 16); }
void print_decimal(uint64_t v) { print_number(v, 10); }

void fail(const char *why)
{
	print("gureum-exits failed ");
	print(why);
	print("\n");
	finish();
}

/* The ways to end. The sleep register is where Gureum and Cloud Hypervisor have it; others
 * have nothing there, or a status register in which the write clears bits. QEMU and
 * Firecracker end on a reset. */
enum {
	PORT_SLEEP = 0x600,
	SLEEP_S5 = 5 << 2 | 1 << 5,
	PORT_KEYBOARD = 0x64,
	KEYBOARD_RESET = 0xFE,
	PATIENCE_TICKS = 50000000,
};

void finish(void)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} none = {0, 0};

	while (!(inb(COM1 + REG_STATUS) & STATUS_EMPTY))
		;
	outb(PORT_SLEEP, SLEEP_S5);
	outb(PORT_KEYBOARD, KEYBOARD_RESET);
	/* A VMM that takes its time is given some, tens of milliseconds, before the triple fault,
	 * which some take for a crash; others, as QEMU's microvm, know no other end. PAUSE would
	 * be an exit on many hosts. */
	for (uint64_t from = ticks(); ticks() - from < PATIENCE_TICKS;)
		;
	__asm__ volatile("lidt %0; int3" : : "m"(none));
	__builtin_unreachable();
}
