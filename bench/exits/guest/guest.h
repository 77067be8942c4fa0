/* What the guest's parts know of each other, and the instructions that C has no words for. */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* serial.c: the first serial port, polled. */
void serial_start(void);
void print(const char *text);
void print_hex(uint64_t v);
void print_decimal(uint64_t v);
/* fail tells why the guest cannot go on, and ends it. */
void fail(const char *why) __attribute__((noreturn));
/* finish ends the guest in the ways that VMMs have. */
void finish(void) __attribute__((noreturn));

/* boot.c: what the VMM tells. */
struct area {
	uint64_t start, end;
};
extern const char *command_line;
extern uint64_t rsdp;
void read_start_info(uint64_t address);
/* take_untouched gives memory that nobody has written to, on a bound of 2 MiB. */
bool take_untouched(uint64_t size, struct area *a);

/* acpi.c */
struct ioapic {
	uint64_t address;
	uint32_t first_gsi;
};
extern struct ioapic ioapics[4];
extern int ioapic_count;
struct window {
	uint64_t address;
	uint32_t gsi;
};
void read_tables(void);
/* find_windows lists the virtio devices on MMIO, and gives their number. */
int find_windows(struct window *list, int max);

/* apic.c */
enum {
	VECTOR_DEVICE = 0x40,
	VECTOR_TIMER = 0x41,
	VECTOR_CALL = 0x42,
	VECTOR_ANSWER = 0x43,
	VECTOR_SPURIOUS = 0xFF,
};
void apic_start(void);
void apic_eoi(void);
uint32_t apic_id(void);
void apic_send(uint32_t id, uint8_t vector);
void apic_start_others(uint8_t page);
void apic_timer_deadline(void);
bool route_gsi(uint32_t gsi, uint8_t vector);

/* interrupt.c */
struct frame {
	uint64_t ip, cs, flags, sp, ss;
};
void interrupts_start(void);
void interrupts_load(void);
void set_handler(uint8_t vector, void (*handler)(struct frame *));
/* halt (entry.S) waits for the next interrupt; interrupts are off before and after. */
void halt(void);
/* awake is for handlers of interrupts that halt waits for: they do not go back into it. An
 * interrupt may come between STI and HLT where a VMM or an emulator forgets that STI keeps it
 * off for one instruction. */
void awake(struct frame *f);
/* An exception goes on at resume_at, if that is set, and sets faulted. */
extern volatile uint64_t resume_at;
extern volatile bool faulted;

/* virtio.c: a block device, which mmio.c or pci.c has found and started. */
struct device {
	uint64_t notify;   /* where the queue's number is written */
	uint64_t config;   /* 4 bytes of the device's configuration */
	uint64_t writable; /* a register in which writing 0 has no effect */
	bool narrow;       /* notify and writable have 2 bytes, not 4 */
};
bool device_start(struct device *d);
bool mmio_start(struct device *d);
bool pci_start(struct device *d);
/* device_missing says why there is none. */
extern const char *device_missing;
enum { QUEUE_SIZE = 8 };
struct rings {
	uint64_t descriptors, available, used;
};
void rings_make(struct rings *r);
/* The registers by which an interrupt is acknowledged, NULL if none is needed. */
extern volatile uint32_t *mmio_status, *mmio_acknowledge;
/* request has the device tell its name, halts until its interrupt, and gives the times
 * before the notification and in the interrupt's handler. */
bool request(const struct device *d, uint64_t *before, uint64_t *after);

/* clock.c */
bool clock_start(void);
extern uint32_t clock_mul;
extern int8_t clock_shift;
uint64_t clock_ticks(uint64_t ns);

/* map.c: map_device makes registers at an address reachable. */
bool map_device(uint64_t address);

/* second.c: the other CPU. */
bool second_start(void);
uint64_t second_call(void);

/* report.c */
enum { MAX_EVENTS = 8192 };
void record_start(void);
void record(uint64_t ticks);
void report(const char *name);
void report_missing(const char *name, const char *why);
uint64_t median_of_records(void);

/* events.c */
bool measure(const char *name, size_t length, uint32_t count);
void measure_empty(void);
bool same(const char *text, size_t length, const char *word);

static inline void outb(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline uint8_t inb(uint16_t port)
{
	uint8_t v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline void outl(uint16_t port, uint32_t v) { __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port)); }
static inline uint32_t inl(uint16_t port)
{
	uint32_t v;
	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
	return (uint64_t)high << 32 | low;
}
static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}
struct cpuid {
	uint32_t a, b, c, d;
};
static inline struct cpuid cpuid(uint32_t leaf)
{
	struct cpuid r;
	__asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(0) : "memory");
	return r;
}
/* ticks reads the time-stamp counter when all before has been done, and lets nothing
 * behind begin sooner (Intel's manual, volume 2, RDTSC). */
static inline uint64_t ticks(void)
{
	uint32_t low, high;
	__asm__ volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}
/* device_write writes 0 to a register; queue 0 is notified by that. */
static inline void device_write(const struct device *d, uint64_t at)
{
	if (d->narrow)
		*(volatile uint16_t *)at = 0;
	else
		*(volatile uint32_t *)at = 0;
}
static inline void device_notify(const struct device *d) { device_write(d, d->notify); }

#endif
