/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Word of devices that come, as an event of the loop. */

#include "agent/scsi.h"
#include "hvsocket/loop.h"

struct device_events;
typedef void device_events_fn(struct device_events *events);
struct device_events {
	struct source source;
	device_events_fn *changed;      /* something has: look again */
};
#define DEVICE_EVENTS_NULL { .source = SOURCE_NULL }

/*
 * What comes from now on is told; look for what is there already after this. May be called while
 * it is open.
 */
int device_events_open(struct device_events *events, struct loop *loop,
                       const struct device_roots *roots, device_events_fn *changed);
void device_events_close(struct device_events *events);
