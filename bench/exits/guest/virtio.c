/* A virtio block device with one queue, as little of it as makes it work (virtio 1.2). */
#include "guest.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, BLK_GET_ID = 8, ID_BYTES = 20, PAGE = 4096, USED_AT = PAGE };

struct descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};
struct available {
	uint16_t flags, index, ring[QUEUE_SIZE];
};
struct used {
	uint16_t flags, index;
	struct {
		uint32_t id, length;
	} ring[QUEUE_SIZE];
};

/* The layout of legacy devices (2.7.2), which suits the others too. */
static uint8_t memory[2 * PAGE] __attribute__((aligned(4096)));
static struct descriptor *const descriptors = (void *)memory;
static volatile struct available *const available = (void *)(memory + QUEUE_SIZE * sizeof(struct descriptor));
static volatile struct used *const used = (void *)(memory + USED_AT);

static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header = {.type = BLK_GET_ID};
static uint8_t id[ID_BYTES];
static volatile uint8_t status;

const char *device_missing = "no virtio block device";
volatile uint32_t *mmio_status, *mmio_acknowledge;
static volatile uint64_t arrived;

void rings_make(struct rings *r)
{
	descriptors[0] = (struct descriptor){(uint64_t)&header, sizeof(header), DESC_NEXT, 1};
	descriptors[1] = (struct descriptor){(uint64_t)id, sizeof(id), DESC_NEXT | DESC_WRITE, 2};
	descriptors[2] = (struct descriptor){(uint64_t)&status, sizeof(status), DESC_WRITE, 0};
	*r = (struct rings){(uint64_t)descriptors, (uint64_t)available, (uint64_t)used};
}

bool device_start(struct device *d) { return mmio_start(d) || pci_start(d); }

/* device_interrupt takes the time first. Message-signalled interrupts need no answer. */
__attribute__((interrupt)) static void device_interrupt(struct frame *f)
{
	arrived = ticks();
	if (mmio_status)
		*mmio_acknowledge = *mmio_status;
	apic_eoi();
	awake(f);
}

bool request(const struct device *d, uint64_t *before, uint64_t *after)
{
	static bool ready;
	uint16_t next = available->index + 1;
	if (!ready) {
		set_handler(VECTOR_DEVICE, device_interrupt);
		ready = true;
	}
	status = 0xFF;
	available->ring[available->index % QUEUE_SIZE] = 0;
	__asm__ volatile("mfence" : : : "memory");
	available->index = next;
	arrived = 0;
	*before = ticks();
	device_notify(d);
	/* The interrupt is waited for even where the device was quicker than this CPU. */
	while (!arrived || used->index != next)
		halt();
	*after = arrived;
	return status == 0;
}
