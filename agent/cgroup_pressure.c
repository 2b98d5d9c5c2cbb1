/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Pressure stall figures: which share of the time tasks of the cgroup waited for a resource. The
 * kernel counts them for every cgroup of v2, whichever controllers that has, also beside v1.
 */

#include "agent/cgroup_private.h"

#include <string.h>

/* A share in percent, "1.50", in hundredths; a time, which has no point, as it is. */
static uint64_t number_of(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);
	if (*end != '.' || !end[1] || !end[2])
		return value;
	return value * 100 + (uint64_t)(end[1] - '0') * 10 + (uint64_t)(end[2] - '0');
}

/* "avg10=1.50" */
static void read_word(char *word, struct psi_line *ret)
{
	static const struct {
		const char *name;
		size_t offset;
	} figures[] = {
		{ "avg10", offsetof(struct psi_line, avg10) },
		{ "avg60", offsetof(struct psi_line, avg60) },
		{ "avg300", offsetof(struct psi_line, avg300) },
		{ "total", offsetof(struct psi_line, total) },
	};
	char *name = strsep(&word, "=");
	for (size_t i = 0; word && i < array_size(figures); i++) {
		uint64_t value = number_of(word);
		if (!strcmp(figures[i].name, name))
			memcpy((char *)ret + figures[i].offset, &value, sizeof(value));
	}
}

/* "some avg10=1.50 avg60=0.75 avg300=0.00 total=12345", and the same of "full" */
void cgroup_pressure_read(const struct cgroup *cgroup, const char *file, struct psi *ret)
{
	cleanup_free char *text = NULL;
	if (cgroup_file_read(cgroup->dirs[CGROUP_V2].fd, file, &text) < 0)
		return;
	char *rest = text, *line, *word;
	while ((line = cgroup_line(&rest))) {
		char *kind = strsep(&line, " ");
		while ((word = strsep(&line, " ")))
			read_word(word, strcmp(kind, "full") ? &ret->some : &ret->full);
	}
}
