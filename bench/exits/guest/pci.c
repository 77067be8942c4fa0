/* virtio over PCI (virtio 1.2, 4.1) on bus 0, with MSI-X; PCI Local Bus Specification 3.0,
 * chapter 6. */
#include "guest.h"

enum {
	PORT_ADDRESS = 0xCF8,
	PORT_DATA = 0xCFC,
	ENABLE = 1u << 31,
	DEVICES = 32,
	CONFIG_ID = 0x00,
	CONFIG_COMMAND = 0x04,
	CONFIG_BARS = 0x10,
	CONFIG_CAPABILITIES = 0x34,
	COMMAND_MEMORY = 1 << 1,
	COMMAND_MASTER = 1 << 2,
	BAR_IO = 1,
	BAR_64_BITS = 2 << 1,
	BARS = 6,
	MAX_CAPABILITIES = 48,
	CAPABILITY_VENDOR = 0x09,
	CAPABILITY_MSIX = 0x11,
	MSIX_ENABLE = 1u << 31, /* of the capability's first 4 bytes */
	MSIX_MASK_ALL = 1u << 30,
	MSI_ADDRESS = 0xFEE00000,
	MSI_ID_SHIFT = 12,
	VENDOR_VIRTIO = 0x1AF4,
	DEVICE_BLOCK = 0x1042,
	DEVICE_BLOCK_TRANSITIONAL = 0x1001,
	/* Types of virtio's capabilities. */
	COMMON = 1,
	NOTIFY = 2,
	DEVICE = 4,
	PLACES = 5,
	NO_VECTOR = 0xFFFF,
	FEATURE_VERSION_1 = 1, /* bit 32, in the second word */
	STATUS_ACKNOWLEDGE = 1,
	STATUS_DRIVER = 2,
	STATUS_DRIVER_OK = 4,
	STATUS_FEATURES_OK = 8,
};

struct common {
	uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
	uint16_t config_vector, queues;
	uint8_t status, generation;
	uint16_t queue_select, queue_size, queue_vector, queue_enable, queue_notify_offset;
	uint32_t descriptors[2], available[2], used[2];
};

struct msix_entry {
	uint32_t address, address_high, data, control;
};

static uint32_t slot;

static uint32_t config_read(uint32_t offset)
{
	outl(PORT_ADDRESS, ENABLE | slot << 11 | (offset & ~3u));
	return inl(PORT_DATA);
}

static void config_write(uint32_t offset, uint32_t v)
{
	outl(PORT_ADDRESS, ENABLE | slot << 11 | (offset & ~3u));
	outl(PORT_DATA, v);
}

static bool find_slot(void)
{
	for (slot = 0; slot < DEVICES; slot++) {
		uint32_t id = config_read(CONFIG_ID);
		if ((id & 0xFFFF) == VENDOR_VIRTIO && (id >> 16 == DEVICE_BLOCK || id >> 16 == DEVICE_BLOCK_TRANSITIONAL))
			return true;
	}
	return false;
}

/* bar is where a BAR is, which the VMM or its firmware has decided; 0 is nowhere. */
static uint64_t bar(uint32_t n)
{
	if (n >= BARS)
		return 0;
	uint64_t v = config_read(CONFIG_BARS + 4 * n);
	if (v & BAR_IO)
		return 0;
	if ((v & 6) == BAR_64_BITS)
		v |= (uint64_t)config_read(CONFIG_BARS + 4 * n + 4) << 32;
	v &= ~15ULL;
	return v && map_device(v) ? v : 0;
}

/* What the capabilities say: places by their type, and the rest. */
static uint64_t places[PLACES];
static uint32_t notify_multiplier, msix;

static void read_capability(uint32_t at)
{
	uint32_t head = config_read(at);
	uint32_t type = head >> 24;
	if ((head & 0xFF) == CAPABILITY_MSIX)
		msix = at;
	if ((head & 0xFF) != CAPABILITY_VENDOR || type >= PLACES || places[type])
		return;
	uint64_t base = bar(config_read(at + 4) & 0xFF);
	if (base)
		places[type] = base + config_read(at + 8);
	if (type == NOTIFY)
		notify_multiplier = config_read(at + 16);
}

static void read_capabilities(void)
{
	uint32_t at = config_read(CONFIG_CAPABILITIES) & 0xFC;
	for (int i = 0; at && i < MAX_CAPABILITIES; i++) {
		read_capability(at);
		at = config_read(at) >> 8 & 0xFC;
	}
}

/* start_msix sends the first vector to this CPU. */
static bool start_msix(void)
{
	uint32_t table = config_read(msix + 4);
	uint64_t base = bar(table & 7);
	if (!msix || !base)
		return false;
	config_write(msix, (config_read(msix) | MSIX_ENABLE) & ~MSIX_MASK_ALL);
	volatile struct msix_entry *entry = (void *)(base + (table & ~7u));
	entry->address = MSI_ADDRESS | apic_id() << MSI_ID_SHIFT;
	entry->address_high = 0;
	entry->data = VECTOR_DEVICE;
	entry->control = 0;
	return true;
}

static void set64(volatile uint32_t *at, uint64_t v)
{
	at[0] = v;
	at[1] = v >> 32;
}

static bool start(volatile struct common *c)
{
	struct rings r;
	rings_make(&r);
	c->status = 0;
	c->status = STATUS_ACKNOWLEDGE; /* step by step (3.1.1): Firecracker takes nothing else */
	c->status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
	c->driver_feature_select = 0;
	c->driver_feature = 0;
	c->driver_feature_select = 1;
	c->driver_feature = FEATURE_VERSION_1;
	c->status = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK;
	c->config_vector = NO_VECTOR;
	c->queue_select = 0;
	c->queue_size = QUEUE_SIZE;
	c->queue_vector = 0;
	set64(c->descriptors, r.descriptors);
	set64(c->available, r.available);
	set64(c->used, r.used);
	c->queue_enable = 1;
	c->status = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK;
	return c->queue_vector == 0 && (c->status & STATUS_DRIVER_OK);
}

bool pci_start(struct device *d)
{
	if (!find_slot())
		return false;
	config_write(CONFIG_COMMAND, (config_read(CONFIG_COMMAND) & 0xFFFF) | COMMAND_MEMORY | COMMAND_MASTER);
	read_capabilities();
	volatile struct common *c = (void *)places[COMMON];
	if (!c || !places[NOTIFY] || !places[DEVICE] || !start_msix() || !start(c)) {
		device_missing = "the virtio block device on PCI does not start";
		return false;
	}
	*d = (struct device){places[NOTIFY] + c->queue_notify_offset * notify_multiplier, places[DEVICE], (uint64_t)&c->queue_select, true};
	return true;
}
