/* Registers above the 4 GiB that entry.S maps. Intel's manual, volume 3, 4.5. */
#include "guest.h"

enum { ENTRIES = 512, TABLES = 8, PRESENT_WRITABLE = 3, LARGE = 0x80 };
#define MAPPED (1ULL << 32)
#define ADDRESS 0xFFFFFFFFFF000ULL

extern uint64_t pml4[ENTRIES];

/* below is the table that an entry refers to, which is made if there is none. */
static uint64_t *below(uint64_t *entry)
{
	static uint64_t tables[TABLES][ENTRIES] __attribute__((aligned(4096)));
	static int taken;
	if (!*entry) {
		if (taken == TABLES)
			return NULL;
		*entry = (uint64_t)tables[taken++] | PRESENT_WRITABLE;
	}
	return (uint64_t *)(*entry & ADDRESS);
}

/* map_device maps the 2 MiB around an address to itself. */
bool map_device(uint64_t address)
{
	if (address < MAPPED)
		return true;
	uint64_t *pdpt = below(&pml4[address >> 39 & (ENTRIES - 1)]);
	uint64_t *pd = pdpt ? below(&pdpt[address >> 30 & (ENTRIES - 1)]) : NULL;
	if (!pd)
		return false;
	pd[address >> 21 & (ENTRIES - 1)] = (address & -(2ULL << 20)) | PRESENT_WRITABLE | LARGE;
	return true;
}
