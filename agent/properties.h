/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* GetProperties: ProcessList, Statistics, StatisticsV2. */

#include "agent/container.h"

/*
 * The Properties document as text in the arena; unknown types are left out. query NULL = nothing
 * asked. container NULL: of the VM itself, which has StatisticsV2 only.
 */
int properties_answer(struct agent *agent, struct container *container,
                      const struct property_query *query, struct arena *arena,
                      const char **ret, struct fault *fault);
