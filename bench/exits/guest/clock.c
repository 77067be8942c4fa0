/* How ticks of the time-stamp counter become nanoseconds of the host: KVM tells by its
 * clock (Linux's Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW). */
#include "guest.h"

enum {
	LEAF_SIGNATURE = 0x40000000,
	LEAF_FEATURES = 0x40000001,
	FEATURE_CLOCK = 1 << 3,
	MSR_CLOCK = 0x4b564d01,
	CLOCK_ON = 1,
};

struct clock {
	uint32_t version, reserved;
	uint64_t ticks, time;
	uint32_t mul;
	int8_t shift;
	uint8_t flags, more[2];
};

uint32_t clock_mul;
int8_t clock_shift;

bool clock_start(void)
{
	static volatile struct clock c __attribute__((aligned(64)));
	struct cpuid s = cpuid(LEAF_SIGNATURE);
	if (s.b != 0x4b4d564b || s.c != 0x564b4d56 || !(cpuid(LEAF_FEATURES).a & FEATURE_CLOCK)) /* KVMKVMKVM */
		return false;
	wrmsr(MSR_CLOCK, (uint64_t)&c | CLOCK_ON);
	for (uint32_t version = 1; version & 1 || version != c.version;) {
		version = c.version;
		clock_mul = c.mul;
		clock_shift = c.shift;
	}
	wrmsr(MSR_CLOCK, 0);
	return clock_mul != 0;
}

/* clock_ticks are the ticks in so many nanoseconds, at most some seconds. */
uint64_t clock_ticks(uint64_t ns)
{
	uint64_t v = (ns << 32) / clock_mul;
	return clock_shift < 0 ? v << -clock_shift : v >> clock_shift;
}
