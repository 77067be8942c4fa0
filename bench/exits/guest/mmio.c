/* virtio over MMIO (virtio 1.2, 4.2), in the form of version 1 too, which QEMU's are unless
 * it is told otherwise. */
#include "guest.h"

enum {
	MAX_WINDOWS = 32,
	MAGIC = 0x74726976,
	ID_BLOCK = 2,
	REG_MAGIC = 0x000,
	REG_VERSION = 0x004,
	REG_DEVICE = 0x008,
	REG_DEVICE_FEATURES_SELECT = 0x014,
	REG_DRIVER_FEATURES = 0x020,
	REG_DRIVER_FEATURES_SELECT = 0x024,
	REG_PAGE_SIZE = 0x028,
	REG_QUEUE_SELECT = 0x030,
	REG_QUEUE_SIZE = 0x038,
	REG_QUEUE_ALIGN = 0x03c,
	REG_QUEUE_PAGE = 0x040,
	REG_QUEUE_READY = 0x044,
	REG_NOTIFY = 0x050,
	REG_INTERRUPT_STATUS = 0x060,
	REG_INTERRUPT_ACKNOWLEDGE = 0x064,
	REG_STATUS = 0x070,
	REG_DESCRIPTORS = 0x080,
	REG_AVAILABLE = 0x090,
	REG_USED = 0x0a0,
	REG_CONFIG = 0x100,
	VERSION_LEGACY = 1,
	FEATURE_VERSION_1 = 1, /* bit 32, in the second word */
	STATUS_ACKNOWLEDGE = 1,
	STATUS_DRIVER = 2,
	STATUS_DRIVER_OK = 4,
	STATUS_FEATURES_OK = 8,
	PAGE = 4096,
};

static uint64_t base;

static volatile uint32_t *reg(uint32_t offset) { return (volatile uint32_t *)(base + offset); }

static void set64(uint32_t offset, uint64_t v)
{
	*reg(offset) = v;
	*reg(offset + 4) = v >> 32;
}

static bool is_block(void) { return *reg(REG_MAGIC) == MAGIC && *reg(REG_DEVICE) == ID_BLOCK; }

static bool start(void)
{
	bool legacy = *reg(REG_VERSION) == VERSION_LEGACY;
	struct rings r;
	uint32_t status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
	rings_make(&r);
	*reg(REG_STATUS) = 0;
	*reg(REG_STATUS) = STATUS_ACKNOWLEDGE; /* step by step (3.1.1): Firecracker takes nothing else */
	*reg(REG_STATUS) = status;
	*reg(REG_DRIVER_FEATURES_SELECT) = 0;
	*reg(REG_DRIVER_FEATURES) = 0;
	if (legacy) {
		*reg(REG_PAGE_SIZE) = PAGE;
	} else {
		*reg(REG_DRIVER_FEATURES_SELECT) = 1;
		*reg(REG_DRIVER_FEATURES) = FEATURE_VERSION_1;
		status |= STATUS_FEATURES_OK;
		*reg(REG_STATUS) = status;
	}
	*reg(REG_QUEUE_SELECT) = 0;
	*reg(REG_QUEUE_SIZE) = QUEUE_SIZE;
	if (legacy) {
		*reg(REG_QUEUE_ALIGN) = PAGE;
		*reg(REG_QUEUE_PAGE) = r.descriptors / PAGE;
	} else {
		set64(REG_DESCRIPTORS, r.descriptors);
		set64(REG_AVAILABLE, r.available);
		set64(REG_USED, r.used);
		*reg(REG_QUEUE_READY) = 1;
	}
	*reg(REG_STATUS) = status | STATUS_DRIVER_OK;
	return (*reg(REG_STATUS) & STATUS_DRIVER_OK) != 0;
}

bool mmio_start(struct device *d)
{
	struct window windows[MAX_WINDOWS];
	int n = find_windows(windows, MAX_WINDOWS);
	for (int i = 0; i < n; i++) {
		base = windows[i].address;
		if (!is_block())
			continue;
		if (!start() || !route_gsi(windows[i].gsi, VECTOR_DEVICE)) {
			device_missing = "the virtio block device does not start";
			return false;
		}
		mmio_status = reg(REG_INTERRUPT_STATUS);
		mmio_acknowledge = reg(REG_INTERRUPT_ACKNOWLEDGE);
		*d = (struct device){(uint64_t)reg(REG_NOTIFY), (uint64_t)reg(REG_CONFIG), (uint64_t)reg(REG_QUEUE_SELECT), false};
		return true;
	}
	return false;
}
