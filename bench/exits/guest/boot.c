/* What the VMM hands over: struct hvm_start_info (Xen's public/arch-x86/hvm/start_info.h). */
#include "guest.h"

enum { START_INFO_MAGIC = 0x336EC578, MEMORY_RAM = 1, MAX_COMMAND_LINE = 2048 };

struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, command_line, rsdp, memory_map;
	uint32_t memory_entries, reserved;
};
struct module {
	uint64_t address, size, command_line, reserved;
};
struct memory_entry {
	uint64_t address, size;
	uint32_t type, reserved;
};

const char *command_line;
uint64_t rsdp;
static char command_line_copy[MAX_COMMAND_LINE];
static struct area untouched;

static uint64_t low(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t high(uint64_t a, uint64_t b) { return a > b ? a : b; }

#define MEGABYTE (1ULL << 20)
#define LARGE_PAGE (2 * MEGABYTE)
#define MAPPED (4096 * MEGABYTE)
/* VMMs and firmware put things at both ends of memory. */
#define MARGIN (16 * MEGABYTE)

static void find_untouched(const struct start_info *info)
{
	const struct memory_entry *map = (void *)info->memory_map;
	const struct module *modules = (void *)info->module_list;
	for (uint32_t i = 0; info->version > 0 && i < info->memory_entries; i++) {
		uint64_t start = high(map[i].address, MEGABYTE) + MARGIN;
		uint64_t end = low(map[i].address + map[i].size, MAPPED) - MARGIN;
		for (uint32_t m = 0; m < info->modules; m++)
			if (modules[m].address > start)
				end = low(end, modules[m].address);
		start = (start + LARGE_PAGE - 1) & -LARGE_PAGE;
		if (map[i].type == MEMORY_RAM && map[i].size > 4 * MARGIN && end > start && end - start > untouched.end - untouched.start)
			untouched = (struct area){start, end & -LARGE_PAGE};
	}
}

void read_start_info(uint64_t address)
{
	const struct start_info *info = (void *)address;
	if (info->magic != START_INFO_MAGIC)
		fail("it was not started by PVH");
	const char *text = (void *)info->command_line;
	for (int i = 0; text && i < MAX_COMMAND_LINE - 1 && text[i]; i++)
		command_line_copy[i] = text[i];
	command_line = command_line_copy;
	rsdp = info->rsdp;
	find_untouched(info);
}

bool take_untouched(uint64_t size, struct area *a)
{
	if (untouched.end - untouched.start < size)
		return false;
	*a = (struct area){untouched.start, untouched.start + size};
	untouched.start += size;
	return true;
}
