/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whether guests really run on this machine's KVM. */

#include "shim/partition.h"
#include "shim/qemu_args.h"

#define KVM_DEVICE "/dev/kvm"

/*
 * Boots the plan's kernel on it, once in the life of the machine; remembered in the state's root
 * after that. Runs a loop of its own, for a second or two where it works.
 */
bool kvm_works(const struct partition *partition, const struct qemu_plan *plan);
/* The verdict that is remembered: 1, 0, or -ENOENT. */
int kvm_recall(const char *root);
void kvm_remember(const char *root, bool works);
