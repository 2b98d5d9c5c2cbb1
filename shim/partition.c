/* SPDX-License-Identifier: Apache-2.0 */

/* The table of partition drivers. */

#include "shim/partition.h"

#include <string.h>

static const struct partition_driver *const drivers[] = {
	&partition_local,
	&partition_qemu,
	&partition_attach,
};

const struct partition_driver *partition_driver_find(const char *name, const char **ret_argument)
{
	size_t length = strcspn(name, "=");

	for (size_t i = 0; i < array_size(drivers); i++) {
		if (strlen(drivers[i]->name) != length || memcmp(drivers[i]->name, name, length) ||
		    drivers[i]->argued != (name[length] == '='))
			continue;
		*ret_argument = name[length] ? name + length + 1 : NULL;
		return drivers[i];
	}
	return NULL;
}

void partition_deinit(struct partition *partition)
{
	if (partition->driver && partition->driver->release)
		partition->driver->release(partition);
	close_fd(&partition->exit_fd);
	close_fd(&partition->output_fd);
	close_fd(&partition->share_fd);
}
