/* The local APIC, as x2APIC where there is one, like Linux in a guest has it, and the
 * I/O APICs. Intel's manual, volume 3, chapter 11; 82093AA's data sheet. */
#include "guest.h"

enum {
	MSR_APIC_BASE = 0x1B,
	BASE_ENABLE = 1 << 11,
	BASE_X2APIC = 1 << 10,
	MSR_X2APIC = 0x800,
	REG_ID = 0x20,
	REG_EOI = 0xB0,
	REG_SPURIOUS = 0xF0,
	REG_COMMAND = 0x300,
	REG_COMMAND_HIGH = 0x310,
	REG_TIMER = 0x320,
	SOFTWARE_ENABLE = 1 << 8,
	DELIVER_INIT = 5 << 8,
	DELIVER_STARTUP = 6 << 8,
	LEVEL_ASSERT = 1 << 14,
	PENDING = 1 << 12,
	ALL_BUT_SELF = 3 << 18,
	TIMER_DEADLINE = 2 << 17,
	CPUID_X2APIC = 1 << 21,
	IOAPIC_DATA = 0x10,
	IOAPIC_VERSION = 1,
	IOAPIC_FIRST_PIN = 0x10,
};

static bool x2apic;
static uint64_t base;

static uint32_t read(uint32_t reg)
{
	if (x2apic)
		return rdmsr(MSR_X2APIC + reg / 16);
	return *(volatile uint32_t *)(base + reg);
}

static void write(uint32_t reg, uint32_t v)
{
	if (x2apic)
		wrmsr(MSR_X2APIC + reg / 16, v);
	else
		*(volatile uint32_t *)(base + reg) = v;
}

/* command sends an interrupt; the destination has its own place in each mode. */
static void command(uint32_t id, uint32_t what)
{
	if (x2apic) {
		wrmsr(MSR_X2APIC + REG_COMMAND / 16, (uint64_t)id << 32 | what);
		return;
	}
	write(REG_COMMAND_HIGH, id << 24);
	write(REG_COMMAND, what);
	while (read(REG_COMMAND) & PENDING)
		;
}

void apic_start(void)
{
	uint64_t v = rdmsr(MSR_APIC_BASE) | BASE_ENABLE;
	base = v & 0xFFFFFF000;
	wrmsr(MSR_APIC_BASE, v);
	if (cpuid(1).c & CPUID_X2APIC) {
		x2apic = true;
		wrmsr(MSR_APIC_BASE, v | BASE_X2APIC);
	}
	write(REG_SPURIOUS, SOFTWARE_ENABLE | VECTOR_SPURIOUS);
}

void apic_eoi(void) { write(REG_EOI, 0); }
uint32_t apic_id(void) { return x2apic ? read(REG_ID) : read(REG_ID) >> 24; }
void apic_send(uint32_t id, uint8_t vector) { command(id, LEVEL_ASSERT | vector); }
void apic_timer_deadline(void) { write(REG_TIMER, TIMER_DEADLINE | VECTOR_TIMER); }

static void wait_ns(uint64_t ns)
{
	for (uint64_t from = ticks(), long_enough = clock_ticks(ns); ticks() - from < long_enough;)
		__asm__ volatile("pause");
}

void apic_start_others(uint8_t page)
{
	command(0, ALL_BUT_SELF | LEVEL_ASSERT | DELIVER_INIT);
	wait_ns(10000);
	command(0, ALL_BUT_SELF | LEVEL_ASSERT | DELIVER_STARTUP | page);
}

static uint32_t ioapic_read(const struct ioapic *io, uint32_t reg)
{
	*(volatile uint32_t *)io->address = reg;
	return *(volatile uint32_t *)(io->address + IOAPIC_DATA);
}

static void ioapic_write(const struct ioapic *io, uint32_t reg, uint32_t v)
{
	*(volatile uint32_t *)io->address = reg;
	*(volatile uint32_t *)(io->address + IOAPIC_DATA) = v;
}

/* route_gsi sends an interrupt to this CPU, by its rising edge: a line that stays up falls
 * when the device is acknowledged. */
bool route_gsi(uint32_t gsi, uint8_t vector)
{
	for (int i = 0; i < ioapic_count; i++) {
		const struct ioapic *io = &ioapics[i];
		uint32_t last = io->first_gsi + (ioapic_read(io, IOAPIC_VERSION) >> 16 & 0xFF);
		if (gsi < io->first_gsi || gsi > last)
			continue;
		uint32_t pin = IOAPIC_FIRST_PIN + 2 * (gsi - io->first_gsi);
		ioapic_write(io, pin + 1, apic_id() << 24);
		ioapic_write(io, pin, vector);
		return true;
	}
	return false;
}
