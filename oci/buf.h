/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A bounded byte queue: bytes are appended at the tail and taken from the head. It grows by
 * doubling up to its limit, and gives the memory back when it is empty (buf_consume).
 */

#include "hvsocket/base.h"

struct buf {
	char *data;
	size_t start;   /* of the unread bytes */
	size_t end;
	size_t size;    /* allocated */
	size_t limit;   /* the most unread bytes it may hold */
};
#define BUF(limit_) { .limit = (limit_) }

static inline size_t buf_length(const struct buf *buf)
{
	return buf->end - buf->start;
}
static inline const char *buf_head(const struct buf *buf)
{
	return buf->data + buf->start;
}
static inline size_t buf_room(const struct buf *buf)
{
	return buf->limit - buf_length(buf);
}

/* Makes room for size bytes and returns where to write them, NULL over the limit or out of memory;
 * buf_commit() then makes them part of the queue. */
char *buf_reserve(struct buf *buf, size_t size);
void buf_commit(struct buf *buf, size_t size);
/* -ENOBUFS over the limit, -ENOMEM. All or nothing. */
int buf_append(struct buf *buf, const void *bytes, size_t size);
int buf_printf(struct buf *buf, const char *format, ...) printf_like(2, 3);
/* Appends what there is to be read until the end. -EFBIG: more than it may hold. */
int buf_read_all(struct buf *buf, int fd);
void buf_consume(struct buf *buf, size_t size);
void buf_deinit(struct buf *buf);
