/* SPDX-License-Identifier: Apache-2.0 */

/* Mount options: every word of the table, and what words do to one another. */

#include "agent/mountopt.h"

#include "oci/mountapi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define WORDS_MAX 8

struct row {
	const char *words[WORDS_MAX];
	struct mount_options want;
};

static const struct row rows[] = {
	{ { NULL }, { 0 } },
	{ { "defaults" }, { 0 } },
	{ { "ro" }, { .flags = MS_RDONLY } },
	{ { "rw" }, { .clear = MS_RDONLY } },
	{ { "nosuid" }, { .flags = MS_NOSUID } },
	{ { "suid" }, { .clear = MS_NOSUID } },
	{ { "nodev" }, { .flags = MS_NODEV } },
	{ { "dev" }, { .clear = MS_NODEV } },
	{ { "noexec" }, { .flags = MS_NOEXEC } },
	{ { "exec" }, { .clear = MS_NOEXEC } },
	{ { "nosymfollow" }, { .flags = MS_NOSYMFOLLOW } },
	{ { "symfollow" }, { .clear = MS_NOSYMFOLLOW } },
	{ { "sync" }, { .flags = MS_SYNCHRONOUS } },
	{ { "async" }, { .clear = MS_SYNCHRONOUS } },
	{ { "dirsync" }, { .flags = MS_DIRSYNC } },
	{ { "mand" }, { .flags = MS_MANDLOCK } },
	{ { "nomand" }, { .clear = MS_MANDLOCK } },
	{ { "lazytime" }, { .flags = MS_LAZYTIME } },
	{ { "nolazytime" }, { .clear = MS_LAZYTIME } },
	{ { "iversion" }, { .flags = MS_I_VERSION } },
	{ { "noiversion" }, { .clear = MS_I_VERSION } },
	{ { "silent" }, { .flags = MS_SILENT } },
	{ { "loud" }, { .clear = MS_SILENT } },
	{ { "noatime" }, { .flags = MS_NOATIME } },
	{ { "atime" }, { .clear = MS_NOATIME } },
	{ { "relatime" }, { .flags = MS_RELATIME } },
	{ { "norelatime" }, { .clear = MS_RELATIME } },
	{ { "strictatime" }, { .flags = MS_STRICTATIME } },
	{ { "nostrictatime" }, { .clear = MS_STRICTATIME } },
	{ { "nodiratime" }, { .flags = MS_NODIRATIME } },
	{ { "diratime" }, { .clear = MS_NODIRATIME } },
	{ { "remount" }, { .flags = MS_REMOUNT } },
	{ { "bind" }, { .bind = true } },
	{ { "rbind" }, { .bind = true, .recursive_bind = true } },
	{ { "private" }, { .propagation = MS_PRIVATE } },
	{ { "rprivate" }, { .propagation = MS_PRIVATE | MS_REC } },
	{ { "shared" }, { .propagation = MS_SHARED } },
	{ { "rshared" }, { .propagation = MS_SHARED | MS_REC } },
	{ { "slave" }, { .propagation = MS_SLAVE } },
	{ { "rslave" }, { .propagation = MS_SLAVE | MS_REC } },
	{ { "unbindable" }, { .propagation = MS_UNBINDABLE } },
	{ { "runbindable" }, { .propagation = MS_UNBINDABLE | MS_REC } },
	{ { "rro" }, { .attr_set = MOUNT_ATTR_RDONLY } },
	{ { "rrw" }, { .attr_clear = MOUNT_ATTR_RDONLY } },
	{ { "rnosuid" }, { .attr_set = MOUNT_ATTR_NOSUID } },
	{ { "rsuid" }, { .attr_clear = MOUNT_ATTR_NOSUID } },
	{ { "rnodev" }, { .attr_set = MOUNT_ATTR_NODEV } },
	{ { "rdev" }, { .attr_clear = MOUNT_ATTR_NODEV } },
	{ { "rnoexec" }, { .attr_set = MOUNT_ATTR_NOEXEC } },
	{ { "rexec" }, { .attr_clear = MOUNT_ATTR_NOEXEC } },
	{ { "rnodiratime" }, { .attr_set = MOUNT_ATTR_NODIRATIME } },
	{ { "rdiratime" }, { .attr_clear = MOUNT_ATTR_NODIRATIME } },
	{ { "rnosymfollow" }, { .attr_set = MOUNT_ATTR_NOSYMFOLLOW } },
	{ { "rsymfollow" }, { .attr_clear = MOUNT_ATTR_NOSYMFOLLOW } },
	{ { "rnoatime" },
	  { .attr_set = MOUNT_ATTR_NOATIME, .attr_clear = MOUNT_ATTR__ATIME } },
	{ { "ratime" }, { .attr_clear = MOUNT_ATTR__ATIME } },
	{ { "rrelatime" }, { .attr_clear = MOUNT_ATTR__ATIME } },
	{ { "rnorelatime" }, { .attr_clear = MOUNT_ATTR__ATIME } },
	{ { "rstrictatime" },
	  { .attr_set = MOUNT_ATTR_STRICTATIME, .attr_clear = MOUNT_ATTR__ATIME } },
	{ { "rnostrictatime" }, { .attr_clear = MOUNT_ATTR__ATIME } },
	{ { "tmpcopyup" }, { .copy_up = true } },
	{ { "idmap" }, { .idmap = true } },
	{ { "ridmap" }, { .idmap = true, .recursive_idmap = true } },
};
#define PLAIN_ROWS array_size(rows)

static const struct row more_rows[] = {
	/* The last word wins. */
	{ { "ro", "rw" }, { .clear = MS_RDONLY } },
	{ { "rw", "ro" }, { .flags = MS_RDONLY } },
	{ { "rro", "rrw" }, { .attr_clear = MOUNT_ATTR_RDONLY } },
	{ { "rrw", "rro" }, { .attr_set = MOUNT_ATTR_RDONLY } },
	{ { "noatime", "strictatime" }, { .flags = MS_STRICTATIME } },
	{ { "strictatime", "relatime" }, { .flags = MS_RELATIME } },
	{ { "noatime", "atime" }, { .clear = MS_NOATIME } },
	{ { "rnoatime", "rstrictatime" },
	  { .attr_set = MOUNT_ATTR_STRICTATIME, .attr_clear = MOUNT_ATTR__ATIME } },
	{ { "rnoatime", "ratime" }, { .attr_clear = MOUNT_ATTR__ATIME } },
	/* What is denied is not what was chosen. */
	{ { "rnoatime", "rnostrictatime" },
	  { .attr_set = MOUNT_ATTR_NOATIME, .attr_clear = MOUNT_ATTR__ATIME } },
	{ { "rprivate", "rslave" }, { .propagation = MS_SLAVE | MS_REC } },
	{ { "bind", "rbind", "bind" }, { .bind = true, .recursive_bind = true } },
	/* As runtimes write them. */
	{ { "rbind", "rprivate", "ro", "nosuid", "nodev" },
	  { .bind = true, .recursive_bind = true, .propagation = MS_PRIVATE | MS_REC,
	    .flags = MS_RDONLY | MS_NOSUID | MS_NODEV } },
	{ { "nosuid", "strictatime", "mode=755", "size=65536k" },
	  { .flags = MS_NOSUID | MS_STRICTATIME, .data = "mode=755,size=65536k" } },
	{ { "lowerdir=/a\\,b:/c", "ro", "context=\"x,y\"" },
	  { .flags = MS_RDONLY, .data = "lowerdir=/a\\,b:/c,context=\"x,y\"" } },
	{ { "", "" }, { 0 } },
	{ { "", "newinstance", "" }, { .data = "newinstance" } },
	{ { "RO" }, { .data = "RO" } },
	{ { "ro " }, { .data = "ro " } },
	{ { "ro,nosuid" }, { .data = "ro,nosuid" } },
};

static const char *const contradictions[][WORDS_MAX] = {
	{ "bind", "tmpcopyup" },
	{ "tmpcopyup", "rbind" },
	{ "tmpcopyup", "remount" },
	{ "remount", "idmap" },
	{ "ridmap", "bind", "remount" },
};

static int parse(struct arena *arena, const char *const words[WORDS_MAX],
                 struct mount_options *ret)
{
	const char *copy[WORDS_MAX];
	struct str_list list = { .item = copy };
	for (size_t i = 0; i < WORDS_MAX && words[i]; i++)
		copy[list.count++] = words[i];
	return mount_options_parse(arena, &list, ret);
}

static void check_row(const struct row *row)
{
	cleanup(arena_free) struct arena arena = ARENA(65536);
	struct mount_options got;
	assert_int_equal(parse(&arena, row->words, &got), 0);
	assert_int_equal(got.flags, row->want.flags);
	assert_int_equal(got.clear, row->want.clear);
	assert_int_equal(got.attr_set, row->want.attr_set);
	assert_int_equal(got.attr_clear, row->want.attr_clear);
	assert_int_equal(got.propagation, row->want.propagation);
	assert_int_equal(got.bind, row->want.bind);
	assert_int_equal(got.recursive_bind, row->want.recursive_bind);
	assert_int_equal(got.copy_up, row->want.copy_up);
	assert_int_equal(got.idmap, row->want.idmap);
	assert_int_equal(got.recursive_idmap, row->want.recursive_idmap);
	if (row->want.data)
		assert_string_equal(got.data, row->want.data);
	else
		assert_null(got.data);
}

static void test_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < PLAIN_ROWS; i++)
		check_row(&rows[i]);
	for (size_t i = 0; i < array_size(more_rows); i++)
		check_row(&more_rows[i]);
}

/* A word that the table above does not know is a word that nobody has tried. */
static void test_names(void **state)
{
	(void)state;
	size_t count = 0;
	for (; mount_option_names[count]; count++) {
		bool found = false;
		for (size_t i = 0; i < PLAIN_ROWS; i++)
			found |= rows[i].words[0] &&
				!strcmp(rows[i].words[0], mount_option_names[count]);
		if (!found)
			print_error("%s\n", mount_option_names[count]);
		assert_true(found);
	}
	assert_int_equal(count, PLAIN_ROWS - 1);
}

static void test_contradictions(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(contradictions); i++) {
		cleanup(arena_free) struct arena arena = ARENA(4096);
		struct mount_options got;
		assert_int_equal(parse(&arena, contradictions[i], &got), -EINVAL);
	}
}

static void test_memory(void **state)
{
	(void)state;
	const char *words[WORDS_MAX] = { "size=1" };
	struct mount_options got;
	struct arena none = ARENA(0);
	assert_int_equal(parse(&none, words, &got), -ENOMEM);
	arena_free(&none);
}

static void test_propagation(void **state)
{
	(void)state;
	assert_int_equal(mount_propagation_parse("rslave"), MS_SLAVE | MS_REC);
	assert_int_equal(mount_propagation_parse("shared"), MS_SHARED);
	assert_int_equal(mount_propagation_parse("ro"), 0);
	assert_int_equal(mount_propagation_parse("unknown"), 0);
	assert_int_equal(mount_propagation_parse(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_propagation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
