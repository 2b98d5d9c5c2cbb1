/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A registry of made-up VMs, and GUIDs of some that are in it and of one that is not. */

#include "hvsocket/hvsocket.h"

static const struct hv_guid vm_one = { { 1 } }, vm_two = { { 2 } }, vm_dead = { { 3 } };
static const struct hv_guid vm_hybrid = { { 4 } }, vm_unknown = { { 5 } };

static struct hv_child rows_of_children[] = {
	{ .vm = { { 1 } }, .cid = 3, .running = true },
	{ .vm = { { 2 } }, .cid = 4, .running = true },
	{ .vm = { { 3 } }, .cid = 5, .running = false },
	{ .vm = { { 4 } }, .base = "/run/vm/v", .uid = 1000, .running = true },
};

static struct hv_children registry(void)
{
	struct hv_children children = { 0 };
	for (size_t i = 0; i < array_size(rows_of_children); i++)
		(void)hv_children_add(&children, &rows_of_children[i]);
	return children;
}
