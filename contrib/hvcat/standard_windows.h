/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Windows: a connection as standard input and output, one after another. */

#include "contrib/hvcat/options.h"

/* Before the first one. */
int standard_init(const struct options *options);
/* Until it has ended: 0, or the error that it was lost by, which has been said. */
int standard_serve(const struct options *options, int fd);
