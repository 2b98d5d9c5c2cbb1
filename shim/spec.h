/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The config.json that `hvrun spec` writes. */

#include "oci/buf.h"

/* rootless: for who is not root, as whom it runs. -ENOMEM. */
int spec_write(struct buf *out, bool rootless);
