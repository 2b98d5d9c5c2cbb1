/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A list of blocks, the newest first; items are cut off the newest. Blocks start small, because
 * most messages are, and double so that a large document needs few. What would waste most of a
 * block gets one of its own, put behind the newest, which stays in use.
 *
 * The limit counts whole blocks: it is a promise about memory, not about the sum of the requests.
 */

#include "oci/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BLOCK_FIRST 4096
#define BLOCK_LAST 65536

struct arena_block {
	struct arena_block *next;
	size_t size;            /* of bytes */
	size_t used;
	alignas(max_align_t) char bytes[];
};

static struct arena_block *add_block(struct arena *arena, size_t size)
{
	const size_t header = sizeof(struct arena_block);
	size_t room = arena->limit > arena->used ? arena->limit - arena->used : 0;

	if (room < header || size > room - header)
		return NULL;
	size_t whole = arena->blocks ? 2 * (arena->blocks->size + header) : BLOCK_FIRST;
	whole = min_size(whole, BLOCK_LAST);
	bool own = size > (whole - header) / 4;
	if (own)
		whole = header + size;
	whole = min_size(whole, room);

	struct arena_block *block = malloc(whole);
	if (!block)
		return NULL;
	block->size = whole - header;
	block->used = 0;
	arena->used += whole;
	if (own && arena->blocks) {
		block->next = arena->blocks->next;
		arena->blocks->next = block;
	} else {
		block->next = arena->blocks;
		arena->blocks = block;
	}
	return block;
}

static void *take(struct arena *arena, size_t size, size_t alignment)
{
	struct arena_block *block = arena->blocks;

	if (block) {
		size_t start = (block->used + alignment - 1) & ~(alignment - 1);
		if (start <= block->size && size <= block->size - start) {
			block->used = start + size;
			return block->bytes + start;
		}
	}
	block = add_block(arena, size);
	if (!block)
		return NULL;
	block->used = size;
	return block->bytes;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	void *item = take(arena, size, alignof(max_align_t));

	return item ? memset(item, 0, size) : NULL;
}

void *arena_array(struct arena *arena, size_t n, size_t size)
{
	size_t bytes;

	return __builtin_mul_overflow(n, size, &bytes) ? NULL : arena_alloc(arena, bytes);
}

char *arena_copy(struct arena *arena, const char *text, size_t length)
{
	char *copy = length < SIZE_MAX ? take(arena, length + 1, 1) : NULL;

	if (!copy)
		return NULL;
	if (length)
		memcpy(copy, text, length);
	copy[length] = '\0';
	return copy;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length < 0)
		return NULL;
	char *text = take(arena, (size_t)length + 1, 1);
	if (!text)
		return NULL;
	va_start(args, format);
	vsnprintf(text, (size_t)length + 1, format, args);
	va_end(args);
	return text;
}

void arena_free(struct arena *arena)
{
	for (struct arena_block *block = arena->blocks, *next; block; block = next) {
		next = block->next;
		free(block);
	}
	arena->blocks = NULL;
	arena->used = 0;
}
