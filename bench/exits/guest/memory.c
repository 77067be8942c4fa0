/* What the compiler calls even in a freestanding program. */
#include "guest.h"

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *at, int v, size_t n);

void *memcpy(void *to, const void *from, size_t n)
{
	void *start = to;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return start;
}

void *memset(void *at, int v, size_t n)
{
	void *start = at;
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(v) : "memory");
	return start;
}
