/* SPDX-License-Identifier: Apache-2.0 */

/* The table of partition drivers. */

#include "shim/partition.h"

#include <string.h>

static const struct partition_driver *const drivers[] = {
	&partition_local,
};

const struct partition_driver *partition_driver_find(const char *name)
{
	for (size_t i = 0; i < array_size(drivers); i++) {
		if (!strcmp(drivers[i]->name, name))
			return drivers[i];
	}
	return NULL;
}

void partition_deinit(struct partition *partition)
{
	close_fd(&partition->exit_fd);
	close_fd(&partition->output_fd);
}
