/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A connection for who does one thing after another and waits for each, but never for ever. All
 * return -errno, -ETIMEDOUT when the time is over.
 */

#include "contrib/hvcat/options.h"

/* Dials the first URL, or another endpoint in its place. */
int wire_dial(const struct options *options, const struct hv_endpoint *endpoint,
              const struct hv_machine *machine);
/* As recv(2): what has come, 0 at the end. */
ssize_t wire_read(int fd, void *bytes, size_t size, int milliseconds);
/* The same without taking it. */
ssize_t wire_peek(int fd, void *bytes, size_t size, int milliseconds);
/* All of it, within that time for each piece. */
int wire_write(int fd, const void *bytes, size_t size, int milliseconds);
/* 1 when there is something to read, 0 when there was nothing in that time. */
int wire_wait(int fd, int milliseconds);
void wire_close(int fd);
void wire_sleep(int milliseconds);
uint64_t wire_microseconds(void);

/* What each system has of its own for these: one call each, without waiting. */
int wire_ready(int fd, bool to_write, int milliseconds);        /* 1, 0 or -errno */
ssize_t wire_take(int fd, void *bytes, size_t size, bool peek);
ssize_t wire_give(int fd, const void *bytes, size_t size);      /* -EAGAIN: no room */
