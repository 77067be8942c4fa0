/* The second CPU: it halts until it is called, and answers with an interrupt. */
#include "guest.h"

enum { TRAMPOLINE = 0x8000, PAGE_SHIFT = 12, PATIENCE_NS = 100000000 };

extern const uint8_t trampoline[], trampoline_end[];
void second_main(void);

static volatile bool second_up;
static volatile uint32_t first_id, second_id;
static volatile uint64_t answered_at;
static volatile bool answered;

__attribute__((interrupt)) static void called(struct frame *f)
{
	apic_eoi();
	apic_send(first_id, VECTOR_ANSWER);
	awake(f);
}

__attribute__((interrupt)) static void answer(struct frame *f)
{
	answered_at = ticks();
	answered = true;
	apic_eoi();
	awake(f);
}

/* second_main is where the second CPU comes out of entry.S. */
void second_main(void)
{
	interrupts_load();
	apic_start();
	second_id = apic_id();
	second_up = true;
	for (;;)
		halt();
}

bool second_start(void)
{
	if (second_up)
		return true;
	first_id = apic_id();
	set_handler(VECTOR_CALL, called);
	set_handler(VECTOR_ANSWER, answer);
	__builtin_memcpy((void *)TRAMPOLINE, trampoline, trampoline_end - trampoline);
	apic_start_others(TRAMPOLINE >> PAGE_SHIFT);
	for (uint64_t from = ticks(), patience = clock_ticks(PATIENCE_NS); !second_up && ticks() - from < patience;)
		__asm__ volatile("pause");
	return second_up;
}

/* second_call calls the other CPU, halts until the answer, and gives the ticks. */
uint64_t second_call(void)
{
	answered = false;
	uint64_t from = ticks();
	apic_send(second_id, VECTOR_CALL);
	while (!answered)
		halt();
	return answered_at - from;
}
