/* The events of a measurement, and how they are told: each line begins with a mark, since
 * firmware may write to the same port. */
#include "guest.h"

/* Values are told to so many bits; that is one part in two thousand. */
enum { SIGNIFICANT_BITS = 11 };

static uint64_t records[MAX_EVENTS];
static uint32_t recorded;

/* record_start touches the memory, so that recording costs no fault. */
void record_start(void)
{
	for (int i = 0; i < MAX_EVENTS; i++)
		((volatile uint64_t *)records)[i] = 0;
	recorded = 0;
}

void record(uint64_t v)
{
	if (recorded < MAX_EVENTS)
		records[recorded++] = v;
}

static void sift_down(uint32_t root, uint32_t end)
{
	for (uint32_t child; (child = 2 * root + 1) < end; root = child) {
		if (child + 1 < end && records[child] < records[child + 1])
			child++;
		if (records[root] >= records[child])
			return;
		uint64_t v = records[root];
		records[root] = records[child];
		records[child] = v;
	}
}

static void sort(void)
{
	for (uint32_t i = recorded / 2; i-- > 0;)
		sift_down(i, recorded);
	for (uint32_t end = recorded; end-- > 1;) {
		uint64_t v = records[0];
		records[0] = records[end];
		records[end] = v;
		sift_down(0, end);
	}
}

uint64_t median_of_records(void)
{
	sort();
	return records[recorded / 2];
}

static uint64_t shorten(uint64_t v)
{
	int surplus = 64 - __builtin_clzll(v | 1) - SIGNIFICANT_BITS;
	if (surplus <= 0)
		return v;
	return (v + (1ULL << (surplus - 1))) >> surplus << surplus;
}

/* report tells all values in ascending order, each as the difference to the one before,
 * with *N behind it if it came N times; in hexadecimal. */
void report(const char *name)
{
	uint64_t last = 0;
	sort();
	print("gureum-exits events ");
	print(name);
	print(" ");
	print_decimal(recorded);
	for (uint32_t i = 0, next; i < recorded; i = next) {
		uint64_t v = shorten(records[i]);
		for (next = i + 1; next < recorded && shorten(records[next]) == v;)
			next++;
		print(i == 0 ? " " : ",");
		print_hex(v - last);
		if (next - i > 1) {
			print("*");
			print_hex(next - i);
		}
		last = v;
	}
	print("\n");
}

void report_missing(const char *name, const char *why)
{
	print("gureum-exits missing ");
	print(name);
	print(" ");
	print(why);
	print("\n");
}
