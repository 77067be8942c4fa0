/* What is measured. Each event is timed alone; what the timing itself takes is taken off. */
#include "guest.h"

enum {
	SCRATCH = 0x3FF, /* a register of the serial port that has no effect */
	WARM_UP = 16,
	EMPTY = 1001,
	MSR_APIC_BASE = 0x1B,
	MSR_DEADLINE = 0x6E0,
	CPUID_DEADLINE = 1 << 24,
	LEAF_SIGNATURE = 0x40000000,
	/* KVM_HC_VAPIC_POLL_IRQ: always there, and does nothing (Linux's
	 * Documentation/virt/kvm/x86/hypercalls.rst). */
	CALL_NOTHING = 1,
	TIMER_NS = 100000,
	PAGE = 4096,
	LARGE_PAGE = 2 << 20,
};

static uint64_t empty;
static struct device device;
static bool amd;

static void record_time(uint64_t from, uint64_t to) { record(to - from > empty ? to - from - empty : 0); }

/* TIMED does something a number of times and records how long it took. */
#define TIMED(count, what)                                        \
	for (uint32_t timed = 0; timed < (count) + WARM_UP; timed++) { \
		uint64_t from = ticks();                               \
		what;                                                  \
		uint64_t to = ticks();                                 \
		if (timed >= WARM_UP)                                  \
			record_time(from, to);                         \
	}

void measure_empty(void)
{
	record_start();
	TIMED(EMPTY, )
	empty = median_of_records();
}

static const char *pio_write(uint32_t count)
{
	TIMED(count, outb(SCRATCH, 0x5A))
	return NULL;
}

static const char *pio_read(uint32_t count)
{
	TIMED(count, inb(SCRATCH))
	return NULL;
}

static const char *find_device(void)
{
	static bool sought, found;
	if (!sought)
		found = device_start(&device);
	sought = true;
	return found ? NULL : device_missing;
}

static const char *mmio_read(uint32_t count)
{
	const char *missing = find_device();
	if (!missing)
		TIMED(count, (void)*(volatile uint32_t *)device.config)
	return missing;
}

static const char *mmio_write(uint32_t count)
{
	const char *missing = find_device();
	if (!missing)
		TIMED(count, device_write(&device, device.writable))
	return missing;
}

static const char *ioeventfd(uint32_t count)
{
	const char *missing = find_device();
	if (!missing)
		TIMED(count, device_notify(&device))
	return missing;
}

static const char *cpuid_exit(uint32_t count)
{
	TIMED(count, cpuid(0))
	return NULL;
}

static inline uint64_t hypercall(void)
{
	uint64_t v = CALL_NOTHING;
	if (amd)
		__asm__ volatile("vmmcall" : "+a"(v) : : "memory");
	else
		__asm__ volatile("vmcall" : "+a"(v) : : "memory");
	return v;
}

/* try_hypercall tells whether there is somebody to call: else it is an invalid opcode. */
static bool try_hypercall(void)
{
	uint64_t v = CALL_NOTHING;
	faulted = false;
	if (amd)
		__asm__ volatile("movq $1f, %1; vmmcall; 1:" : "+a"(v), "=m"(resume_at) : : "memory");
	else
		__asm__ volatile("movq $1f, %1; vmcall; 1:" : "+a"(v), "=m"(resume_at) : : "memory");
	resume_at = 0;
	return !faulted && v == 0;
}

static const char *hypercall_exit(uint32_t count)
{
	struct cpuid vendor = cpuid(0);
	/* AuthenticAMD and HygonGenuine have VMMCALL, the others VMCALL. */
	amd = vendor.b == 0x68747541 || vendor.b == 0x6f677948;
	if (!try_hypercall())
		return "nobody answers a hypercall";
	TIMED(count, hypercall())
	return NULL;
}

static const char *msr_read(uint32_t count)
{
	TIMED(count, rdmsr(MSR_APIC_BASE))
	return NULL;
}

static const char *msr_write(uint32_t count)
{
	uint64_t same_again = rdmsr(MSR_APIC_BASE);
	TIMED(count, wrmsr(MSR_APIC_BASE, same_again))
	return NULL;
}

static const char *hlt_device(uint32_t count)
{
	const char *missing = find_device();
	for (uint32_t i = 0; !missing && i < count + WARM_UP; i++) {
		uint64_t from, to;
		if (!request(&device, &from, &to))
			missing = "the virtio block device does not tell its name";
		else if (i >= WARM_UP)
			record_time(from, to);
	}
	return missing;
}

static volatile uint64_t rang_at;
static volatile bool rang;

__attribute__((interrupt)) static void timer(struct frame *f)
{
	rang_at = ticks();
	rang = true;
	apic_eoi();
	awake(f);
}

/* hlt_timer records how late the interrupt is. */
static const char *hlt_timer(uint32_t count)
{
	uint64_t wait = clock_ticks(TIMER_NS);
	if (!(cpuid(1).c & CPUID_DEADLINE))
		return "the local APIC's timer has no TSC-deadline mode";
	set_handler(VECTOR_TIMER, timer);
	apic_timer_deadline();
	for (uint32_t i = 0; i < count + WARM_UP; i++) {
		uint64_t deadline = ticks() + wait;
		rang = false;
		wrmsr(MSR_DEADLINE, deadline);
		while (!rang)
			halt();
		if (i >= WARM_UP)
			record_time(deadline, rang_at);
	}
	return NULL;
}

static const char *call_second(uint32_t count)
{
	if (!second_start())
		return "there is no second CPU";
	for (uint32_t i = 0; i < count + WARM_UP; i++) {
		uint64_t took = second_call();
		if (i >= WARM_UP)
			record_time(0, took);
	}
	return NULL;
}

static void touch(uint64_t at) { *(volatile uint8_t *)at = 1; }

/* touch_apart touches a byte in each stride of so many bytes. */
static const char *touch_apart(uint32_t count, uint64_t stride)
{
	struct area a;
	if (!take_untouched((count * stride + LARGE_PAGE - 1) & -(uint64_t)LARGE_PAGE, &a))
		return "there is too little memory";
	for (uint32_t i = 0; i < count; i++) {
		uint64_t from = ticks();
		touch(a.start + i * stride);
		record_time(from, ticks());
	}
	return NULL;
}

static const char *touch_small(uint32_t count) { return touch_apart(count, PAGE); }
static const char *touch_large(uint32_t count) { return touch_apart(count, LARGE_PAGE); }

/* touch_whole touches all pages of areas of 2 MiB, each of which is an event. */
static const char *touch_whole(uint32_t count)
{
	struct area a;
	if (!take_untouched((uint64_t)count * LARGE_PAGE, &a))
		return "there is too little memory";
	for (uint32_t i = 0; i < count; i++) {
		uint64_t from = ticks();
		for (uint64_t at = 0; at < LARGE_PAGE; at += PAGE)
			touch(a.start + i * (uint64_t)LARGE_PAGE + at);
		record_time(from, ticks());
	}
	return NULL;
}

static const struct {
	const char *name;
	const char *(*run)(uint32_t count); /* tells what is missing, or NULL */
} events[] = {
	{"pio-write", pio_write},   {"pio-read", pio_read},         {"mmio-write", mmio_write}, {"mmio-read", mmio_read},
	{"ioeventfd", ioeventfd},   {"cpuid", cpuid_exit},          {"hypercall", hypercall_exit}, {"rdmsr", msr_read},
	{"wrmsr", msr_write},       {"hlt-device", hlt_device},     {"hlt-timer", hlt_timer},   {"ipi", call_second},
	{"touch-4k", touch_small},   {"touch-2m", touch_large},     {"touch-all", touch_whole},
};

bool same(const char *text, size_t length, const char *word)
{
	for (size_t i = 0; i < length; i++)
		if (text[i] != word[i])
			return false;
	return true;
}

bool measure(const char *name, size_t length, uint32_t count)
{
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		if (!same(name, length, events[i].name) || events[i].name[length])
			continue;
		record_start();
		const char *missing = events[i].run(count);
		if (missing)
			report_missing(events[i].name, missing);
		else
			report(events[i].name);
		return true;
	}
	return false;
}
