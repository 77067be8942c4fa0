/* The little of ACPI (6.4) that the guest needs: I/O APICs out of the MADT, and virtio
 * devices on MMIO out of the DSDT or the command line. */
#include "guest.h"

struct __attribute__((packed)) header {
	char signature[4];
	uint32_t length;
	uint8_t rest[28];
};

struct ioapic ioapics[4];
int ioapic_count;
static const uint8_t *dsdt;
static uint32_t dsdt_length;

enum {
	BIOS_START = 0xE0000,
	BIOS_END = 0x100000,
	RSDP_RSDT = 16,
	RSDP_XSDT = 24,
	RSDP_REVISION = 15,
	FADT_DSDT = 40,
	FADT_X_DSDT = 140,
	MADT_ENTRIES = 44,
	MADT_IOAPIC = 1,
	DEFAULT_IOAPIC = 0xFEC00000,
};

static uint32_t read32(const void *p)
{
	uint32_t v;
	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t read64(const void *p)
{
	uint64_t v;
	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static void read_madt(const uint8_t *madt, uint32_t length)
{
	for (uint32_t i = MADT_ENTRIES; i + 2 <= length && madt[i + 1] >= 2; i += madt[i + 1])
		if (madt[i] == MADT_IOAPIC && ioapic_count < 4)
			ioapics[ioapic_count++] = (struct ioapic){read32(madt + i + 4), read32(madt + i + 8)};
}

static void read_table(const struct header *table)
{
	const uint8_t *bytes = (const uint8_t *)table;
	if (same(table->signature, 4, "APIC"))
		read_madt(bytes, table->length);
	if (!same(table->signature, 4, "FACP"))
		return;
	uint64_t at = read32(bytes + FADT_DSDT);
	if (table->length >= FADT_X_DSDT + 8 && read64(bytes + FADT_X_DSDT))
		at = read64(bytes + FADT_X_DSDT);
	if (!at)
		return;
	dsdt = (void *)at;
	dsdt_length = ((const struct header *)at)->length;
}

void read_tables(void)
{
	for (uint64_t at = BIOS_START; !rsdp && at < BIOS_END; at += 16)
		if (same((void *)at, 8, "RSD PTR "))
			rsdp = at;
	if (rsdp) {
		const uint8_t *root = (void *)rsdp;
		bool wide = root[RSDP_REVISION] >= 2 && read64(root + RSDP_XSDT);
		const struct header *list = (void *)(wide ? read64(root + RSDP_XSDT) : read32(root + RSDP_RSDT));
		const uint8_t *end = (const uint8_t *)list + list->length;
		for (const uint8_t *p = (const uint8_t *)(list + 1); p < end; p += wide ? 8 : 4)
			read_table((void *)(wide ? read64(p) : read32(p)));
	}
	if (ioapic_count == 0)
		ioapics[ioapic_count++] = (struct ioapic){DEFAULT_IOAPIC, 0};
}

/* Resource descriptors (ACPI 6.4, 6.4.3), and how far behind a device's _HID they are. */
enum {
	FIXED_MEMORY = 0x86,
	FIXED_MEMORY_LENGTH = 9,
	INTERRUPTS = 0x89,
	ONE_INTERRUPT_LENGTH = 6,
	TAG_BYTES = 3,
	FAR = 160,
};

static bool is_descriptor(const uint8_t *p, const uint8_t *end, uint8_t tag, uint8_t length)
{
	return p + TAG_BYTES + length <= end && p[0] == tag && p[1] == length && p[2] == 0;
}

/* read_resources finds the registers and the interrupt behind a device's _HID. A descriptor
 * is known by its tag and length, as this is no interpreter of AML. */
static bool read_resources(const uint8_t *p, const uint8_t *end, struct window *w)
{
	while (p < end && !is_descriptor(p, end, FIXED_MEMORY, FIXED_MEMORY_LENGTH))
		p++;
	if (p == end)
		return false;
	w->address = read32(p + 4);
	for (p += TAG_BYTES + FIXED_MEMORY_LENGTH; p < end; p++) {
		if (!is_descriptor(p, end, INTERRUPTS, ONE_INTERRUPT_LENGTH))
			continue;
		w->gsi = read32(p + 5);
		return true;
	}
	return false;
}

static int from_dsdt(struct window *list, int max)
{
	static const char name[] = "LNRO0005";
	const uint32_t length = sizeof(name) - 1;
	int n = 0;
	for (uint32_t i = 0; i + length < dsdt_length && n < max; i++) {
		if (!same((const char *)dsdt + i, length, name))
			continue;
		uint32_t left = dsdt_length - i;
		const uint8_t *end = dsdt + i + (left < FAR ? left : FAR);
		if (read_resources(dsdt + i + length, end, &list[n]))
			n++;
	}
	return n;
}

static uint64_t number(const char **p)
{
	uint64_t v = 0;
	unsigned base = 10;
	if ((*p)[0] == '0' && (*p)[1] == 'x') {
		base = 16;
		*p += 2;
	}
	for (;; (*p)++) {
		unsigned digit = **p >= '0' && **p <= '9' ? **p - '0' : **p >= 'a' && **p <= 'f' ? **p - 'a' + 10 : 99;
		if (digit >= base)
			return v;
		v = v * base + digit;
	}
}

/* from_command_line reads virtio_mmio.device=SIZE@ADDRESS:INTERRUPT (Linux's
 * Documentation/admin-guide/kernel-parameters.txt). */
static int from_command_line(struct window *list, int max)
{
	static const char word[] = "virtio_mmio.device=";
	int n = 0;
	for (const char *p = command_line; *p && n < max; p++) {
		if (!same(p, sizeof(word) - 1, word))
			continue;
		while (*p && *p != ' ' && *p != '@')
			p++;
		if (*p != '@')
			return n;
		p++;
		list[n].address = number(&p);
		if (*p != ':')
			return n;
		p++;
		list[n++].gsi = number(&p);
	}
	return n;
}

int find_windows(struct window *list, int max)
{
	int n = from_command_line(list, max);
	return n ? n : from_dsdt(list, max);
}
