/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The directory of a container's bundle, where the host names one that the guest does not have. */

#include "oci/fault.h"

struct container;

int bundle_make(struct container *container, struct fault *fault);
/* When the bundle itself is removed: the directories above that were made for it. */
void bundle_leave(struct container *container);
