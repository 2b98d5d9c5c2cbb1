/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory with one owner and one end: everything decoded from one message or one file lives in an
 * arena and goes in one call. The ceiling bounds what a peer can make us allocate.
 */

#include "hvsocket/base.h"

struct arena_block;
struct arena {
	struct arena_block *blocks;
	size_t used;    /* bytes handed out and the blocks' slack */
	size_t limit;
};
/* limit: the most bytes this arena may take from malloc(3). */
#define ARENA(limit_) { .limit = (limit_) }

/* Zeroed, aligned for any type; NULL when the limit or the memory is exhausted. */
void *arena_alloc(struct arena *arena, size_t size);
/* n items of size, checked for overflow. */
void *arena_array(struct arena *arena, size_t n, size_t size);
char *arena_copy(struct arena *arena, const char *text, size_t length); /* adds a NUL */
char *arena_printf(struct arena *arena, const char *format, ...) printf_like(2, 3);
void arena_free(struct arena *arena);
