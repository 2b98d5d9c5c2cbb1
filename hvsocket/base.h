/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The few helpers that every file may use: scope-bound ownership and arithmetic on types.
 *
 * Errors: a function that can fail returns a negative errno, which travels up unchanged; 0 is
 * done; a positive value is an answer that its header names. Text is made once, at the boundary
 * to whoever asked (oci/fault.h).
 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define cleanup(function) __attribute__((cleanup(function)))
#define printf_like(text, args) __attribute__((format(printf, text, args)))

#define array_size(array) (sizeof(array) / sizeof((array)[0]))
#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* Closes *fd unless negative; keeps errno. For the cleanup attribute and for deinit functions. */
static inline void close_fd(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;
		close(*fd);
		errno = saved;
	}
	*fd = -1;
}

static inline void free_pointer(void *pointer)
{
	free(*(void **)pointer);
	*(void **)pointer = NULL;
}

#define cleanup_close cleanup(close_fd)
#define cleanup_free cleanup(free_pointer)

/* Hands ownership on: returns *fd and leaves -1 behind. */
static inline int take_fd(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

/* The same for pointers. */
#define take_pointer(pointer) \
	__extension__({ \
		__typeof__(pointer) taken_ = (pointer); \
		(pointer) = NULL; \
		taken_; \
	})

static inline size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Sums and products that stop at the greatest number: for what somebody else claims. */
static inline uint64_t sum_u64(uint64_t a, uint64_t b)
{
	uint64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}
static inline uint64_t product_u64(uint64_t a, uint64_t b)
{
	uint64_t product;
	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}
