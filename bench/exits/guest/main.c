/*
 * A guest that measures what leaving a guest costs, and nothing else: it has no kernel. Any
 * VMM that starts an ELF kernel by PVH can run it. The command line says what to measure:
 *
 *	exits.run=NAME:COUNT,NAME:COUNT...
 *
 * and the answers come out of the first serial port; package exits reads them.
 */
#include "guest.h"

void guest_main(uint64_t start_info);

static const char *find_word(const char *word, size_t length)
{
	for (const char *p = command_line; *p; p++)
		if ((p == command_line || p[-1] == ' ') && same(p, length, word))
			return p + length;
	return NULL;
}

static void run(const char *p)
{
	while (*p && *p != ' ') {
		const char *name = p;
		while (*p && *p != ':' && *p != ' ')
			p++;
		size_t length = p - name;
		uint32_t count = 0;
		if (*p == ':')
			for (p++; *p >= '0' && *p <= '9'; p++)
				count = 10 * count + (*p - '0');
		if (count == 0 || count > MAX_EVENTS || !measure(name, length, count))
			fail("the command line asks for what it cannot measure");
		if (*p == ',')
			p++;
	}
}

void guest_main(uint64_t start_info)
{
	static const char word[] = "exits.run=";
	serial_start();
	interrupts_start();
	read_start_info(start_info);
	read_tables();
	apic_start();
	if (!clock_start())
		fail("KVM's clock is missing, so the speed of the time-stamp counter is not known");
	print("gureum-exits clock ");
	print_hex(clock_mul);
	print(clock_shift < 0 ? " -" : " ");
	print_decimal(clock_shift < 0 ? -clock_shift : clock_shift);
	print("\n");
	measure_empty();
	const char *list = find_word(word, sizeof(word) - 1);
	if (!list)
		fail("the command line has no exits.run=");
	run(list);
	print("gureum-exits end\n");
	finish();
}
