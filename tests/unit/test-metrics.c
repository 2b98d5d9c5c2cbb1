/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Figures on the wire. The numbers of fields are written here once more, from the description of
 * the messages and not from the .proto files, and looked up in the bytes by hand.
 */

#include "shim/containerd/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* Bytes on the wire */

enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2 };

struct value {
	enum wire wire;
	uint64_t number;                /* VARINT, FIXED64; of BYTES how many */
	const uint8_t *bytes;
};

static uint64_t take_varint(const uint8_t **at, const uint8_t *end)
{
	uint64_t value = 0;
	for (unsigned shift = 0;; shift += 7) {
		assert_true(*at < end && shift < 64);
		uint8_t byte = *(*at)++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
}

static unsigned take_field(const uint8_t **at, const uint8_t *end, struct value *ret)
{
	uint64_t tag = take_varint(at, end);
	*ret = (struct value){ .wire = (enum wire)(tag & 7) };
	if (ret->wire == FIXED64) {
		assert_true(end - *at >= 8);
		memcpy(&ret->number, *at, 8);
		*at += 8;
		return (unsigned)(tag >> 3);
	}
	ret->number = take_varint(at, end);
	assert_true(ret->wire == VARINT || ret->wire == BYTES);
	if (ret->wire == BYTES) {
		assert_true(ret->number <= (uint64_t)(end - *at));
		ret->bytes = *at;
		*at += ret->number;
	}
	return (unsigned)(tag >> 3);
}

/* The value at "4.38.1.2"; "6.1#2.5": of the third field 1 in 6. */
static bool find(const uint8_t *at, size_t size, const char *path, struct value *ret)
{
	char *rest;
	const uint8_t *end = at + size;
	unsigned long wanted = strtoul(path, &rest, 10);
	unsigned long nth = *rest == '#' ? strtoul(rest + 1, &rest, 10) : 0;

	while (at < end) {
		struct value value;
		unsigned number = take_field(&at, end, &value);
		if (number != wanted || nth--)
			continue;
		if (*rest == '.') {
			assert_int_equal(value.wire, BYTES);
			return find(value.bytes, value.number, rest + 1, ret);
		}
		*ret = value;
		return true;
	}
	return false;
}

static void check_number(const Google__Protobuf__Any *any, const char *path, uint64_t number)
{
	struct value value = { 0 };
	bool found = find(any->value.data, any->value.len, path, &value);
	if (found != (number != 0) || value.number != number)
		fail_msg("field %s is %llu instead of %llu", path, (unsigned long long)value.number,
		         (unsigned long long)number);
	assert_int_equal(value.wire, VARINT);
}

static void check_double(const Google__Protobuf__Any *any, const char *path, double number)
{
	struct value value = { 0 };
	double is;
	assert_true(find(any->value.data, any->value.len, path, &value));
	assert_int_equal(value.wire, FIXED64);
	memcpy(&is, &value.number, sizeof(is));
	assert_true(is > number - 0.001 && is < number + 0.001);
}

static void check_string(const Google__Protobuf__Any *any, const char *path, const char *text)
{
	struct value value = { 0 };
	assert_true(find(any->value.data, any->value.len, path, &value));
	assert_int_equal(value.wire, BYTES);
	assert_int_equal(value.number, strlen(text));
	assert_memory_equal(value.bytes, text, value.number);
}

/* Version 2: the field's number, and the figure that is in it */

struct row {
	const char *path;
	size_t offset;
};
#define ROW(path, member) { path, offsetof(struct statistics_v2, member) }

static const struct row v2_rows[] = {
	ROW("1.1", pids.current), ROW("1.2", pids.limit),
	ROW("2.1", cpu.usage_usec), ROW("2.2", cpu.user_usec), ROW("2.3", cpu.system_usec),
	ROW("2.4", cpu.nr_periods), ROW("2.5", cpu.nr_throttled), ROW("2.6", cpu.throttled_usec),
	ROW("2.7.1.4", cpu.psi.some.total), ROW("2.7.2.4", cpu.psi.full.total),
	ROW("2.8", cpu.nr_bursts), ROW("2.9", cpu.burst_usec),
	ROW("4.1", memory.anon), ROW("4.2", memory.file), ROW("4.3", memory.kernel_stack),
	ROW("4.4", memory.slab), ROW("4.5", memory.sock), ROW("4.6", memory.shmem),
	ROW("4.7", memory.file_mapped), ROW("4.8", memory.file_dirty),
	ROW("4.9", memory.file_writeback), ROW("4.10", memory.anon_thp),
	ROW("4.11", memory.inactive_anon), ROW("4.12", memory.active_anon),
	ROW("4.13", memory.inactive_file), ROW("4.14", memory.active_file),
	ROW("4.15", memory.unevictable), ROW("4.16", memory.slab_reclaimable),
	ROW("4.17", memory.slab_unreclaimable), ROW("4.18", memory.pgfault),
	ROW("4.19", memory.pgmajfault), ROW("4.20", memory.workingset_refault),
	ROW("4.21", memory.workingset_activate), ROW("4.22", memory.workingset_nodereclaim),
	ROW("4.23", memory.pgrefill), ROW("4.24", memory.pgscan), ROW("4.25", memory.pgsteal),
	ROW("4.26", memory.pgactivate), ROW("4.27", memory.pgdeactivate),
	ROW("4.28", memory.pglazyfree), ROW("4.29", memory.pglazyfreed),
	ROW("4.30", memory.thp_fault_alloc), ROW("4.31", memory.thp_collapse_alloc),
	ROW("4.32", memory.usage), ROW("4.33", memory.usage_limit), ROW("4.34", memory.swap_usage),
	ROW("4.35", memory.swap_limit), ROW("4.36", memory.max_usage),
	ROW("4.37", memory.swap_max_usage), ROW("4.38.1.4", memory.psi.some.total),
	ROW("4.38.2.4", memory.psi.full.total),
	ROW("6.2.1.4", io_psi.some.total), ROW("6.2.2.4", io_psi.full.total),
	ROW("8.1", memory_events.low), ROW("8.2", memory_events.high),
	ROW("8.3", memory_events.max), ROW("8.4", memory_events.oom),
	ROW("8.5", memory_events.oom_kill), ROW("8.6", memory_events.oom_group_kill),
};

/* Every figure is another number, above 2^32. */
static uint64_t nth(size_t i)
{
	return (1ull << 33) + 1000 * i;
}

static void set_all(struct statistics_v2 *statistics)
{
	for (size_t i = 0; i < array_size(v2_rows); i++) {
		uint64_t number = nth(i);
		memcpy((char *)statistics + v2_rows[i].offset, &number, sizeof(number));
	}
}

static struct io_entry devices[] = {
	{ 8, 16, 1, 2, 3, 4 }, { 0, 0, 5, 0, 0, 0 }, { 253, 7, 0, 6, 7, 8 },
};
static struct hugetlb_entry page_sizes[] = {
	{ 9, UINT64_MAX, 10, "2MB" }, { 0, 11, 0, NULL },
};

static void test_v2(void **state)
{
	struct statistics_v2 statistics = { 0 };
	Google__Protobuf__Any any;

	(void)state;
	set_all(&statistics);
	statistics.cpu.psi.some.avg10 = 150;
	statistics.memory.psi.full.avg60 = 7;
	statistics.io_psi.some.avg300 = 10000;
	statistics.io.item = devices;
	statistics.io.count = array_size(devices);
	statistics.hugetlb.item = page_sizes;
	statistics.hugetlb.count = array_size(page_sizes);
	assert_int_equal(metrics_pack(&statistics, true, &any), 0);
	assert_string_equal(any.type_url, "io.containerd.cgroups.v2.Metrics");
	for (size_t i = 0; i < array_size(v2_rows); i++)
		check_number(&any, v2_rows[i].path, nth(i));
	check_double(&any, "2.7.1.1", 1.5);
	check_double(&any, "4.38.2.2", 0.07);
	check_double(&any, "6.2.1.3", 100);
	check_number(&any, "6.1.1", 8);
	check_number(&any, "6.1.2", 16);
	check_number(&any, "6.1.3", 1);
	check_number(&any, "6.1.4", 2);
	check_number(&any, "6.1.5", 3);
	check_number(&any, "6.1.6", 4);
	check_number(&any, "6.1#1.1", 0);
	check_number(&any, "6.1#1.3", 5);
	check_number(&any, "6.1#2.6", 8);
	check_number(&any, "7.1", 9);
	check_number(&any, "7.2", UINT64_MAX);
	check_string(&any, "7.3", "2MB");
	check_number(&any, "7.4", 10);
	check_number(&any, "7#1.2", 11);
	any_deinit(&any);
}

static void test_v1(void **state)
{
	/* Each of these, and the same with total_. */
	static const struct {
		unsigned number, total;
		size_t offset;
	} twice[] = {
		{ 1, 18, offsetof(struct statistics_v2, memory.file) },
		{ 2, 19, offsetof(struct statistics_v2, memory.anon) },
		{ 3, 20, offsetof(struct statistics_v2, memory.anon_thp) },
		{ 4, 21, offsetof(struct statistics_v2, memory.file_mapped) },
		{ 5, 22, offsetof(struct statistics_v2, memory.file_dirty) },
		{ 6, 23, offsetof(struct statistics_v2, memory.file_writeback) },
		{ 9, 26, offsetof(struct statistics_v2, memory.pgfault) },
		{ 10, 27, offsetof(struct statistics_v2, memory.pgmajfault) },
		{ 11, 28, offsetof(struct statistics_v2, memory.inactive_anon) },
		{ 12, 29, offsetof(struct statistics_v2, memory.active_anon) },
		{ 13, 30, offsetof(struct statistics_v2, memory.inactive_file) },
		{ 14, 31, offsetof(struct statistics_v2, memory.active_file) },
		{ 15, 32, offsetof(struct statistics_v2, memory.unevictable) },
	};
	struct statistics_v2 s = { 0 };
	Google__Protobuf__Any any;
	char path[16];

	(void)state;
	set_all(&s);
	s.io.item = devices;
	s.io.count = array_size(devices);
	s.hugetlb.item = page_sizes;
	s.hugetlb.count = array_size(page_sizes);
	assert_int_equal(metrics_pack(&s, false, &any), 0);
	assert_string_equal(any.type_url, "io.containerd.cgroups.v1.Metrics");
	for (size_t i = 0; i < array_size(twice); i++) {
		uint64_t number;
		memcpy(&number, (char *)&s + twice[i].offset, sizeof(number));
		snprintf(path, sizeof(path), "4.%u", twice[i].number);
		check_number(&any, path, number);
		snprintf(path, sizeof(path), "4.%u", twice[i].total);
		check_number(&any, path, number);
	}
	const struct { const char *path; uint64_t number; } rows[] = {
		{ "1.1", 9 }, { "1.2", 0 }, { "1.3", 10 }, { "1#1.1", 0 },
		{ "2.1", s.pids.current }, { "2.2", s.pids.limit },
		{ "3.1.1", s.cpu.usage_usec * 1000 }, { "3.1.2", s.cpu.system_usec * 1000 },
		{ "3.1.3", s.cpu.user_usec * 1000 }, { "3.2.1", s.cpu.nr_periods },
		{ "3.2.2", s.cpu.nr_throttled }, { "3.2.3", s.cpu.throttled_usec * 1000 },
		{ "4.16", s.memory.usage_limit },
		{ "4.17", s.memory.usage_limit + s.memory.swap_limit },
		{ "4.33.1", s.memory.usage_limit }, { "4.33.2", s.memory.usage },
		{ "4.33.3", s.memory.max_usage }, { "4.33.4", s.memory_events.max },
		{ "4.34.1", s.memory.usage_limit + s.memory.swap_limit },
		{ "4.34.2", s.memory.usage + s.memory.swap_usage },
		{ "4.35.2", s.memory.kernel_stack + s.memory.slab }, { "4.36.2", s.memory.sock },
		{ "5.1.3", 8 }, { "5.1.4", 16 }, { "5.1.5", 1 }, { "5.1#1.5", 2 },
		{ "5.1#5.5", 6 }, { "5.2.5", 3 }, { "5.2#1.5", 4 }, { "5.2#2.5", 0 },
		{ "9.3", s.memory_events.oom_kill },
	};
	for (size_t i = 0; i < array_size(rows); i++)
		check_number(&any, rows[i].path, rows[i].number);
	check_string(&any, "1.4", "2MB");
	check_string(&any, "5.1.1", "Read");
	check_string(&any, "5.1#1.1", "Write");
	any_deinit(&any);
}

/* What the greatest numbers become: no sum and no product begins anew at 0. */
static void test_greatest(void **state)
{
	static const uint64_t unlimited = 0x7ffffffffffff000;
	struct statistics_v2 statistics;
	Google__Protobuf__Any any;

	(void)state;
	memset(&statistics, 0xff, sizeof(statistics));
	statistics.io.count = statistics.hugetlb.count = 0;
	assert_int_equal(metrics_pack(&statistics, true, &any), 0);
	for (size_t i = 0; i < array_size(v2_rows); i++)
		check_number(&any, v2_rows[i].path, UINT64_MAX);
	any_deinit(&any);
	assert_int_equal(metrics_pack(&statistics, false, &any), 0);
	const struct { const char *path; uint64_t number; } rows[] = {
		{ "2.1", UINT64_MAX }, { "2.2", 0 },
		{ "3.1.1", UINT64_MAX }, { "3.1.2", UINT64_MAX }, { "3.1.3", UINT64_MAX },
		{ "3.2.1", UINT64_MAX }, { "3.2.3", UINT64_MAX },
		{ "4.16", unlimited }, { "4.17", unlimited }, { "4.33.1", unlimited },
		{ "4.33.2", UINT64_MAX }, { "4.34.1", unlimited }, { "4.34.2", UINT64_MAX },
		{ "4.35.1", unlimited }, { "4.35.2", UINT64_MAX }, { "4.36.1", unlimited },
	};
	for (size_t i = 0; i < array_size(rows); i++)
		check_number(&any, rows[i].path, rows[i].number);
	any_deinit(&any);
	/* A limit without swap, and one that is no limit with swap. */
	statistics.memory.usage_limit = 1 << 20;
	statistics.memory.swap_limit = 0;
	assert_int_equal(metrics_pack(&statistics, false, &any), 0);
	check_number(&any, "4.34.1", 1 << 20);
	any_deinit(&any);
}

static void test_nothing(void **state)
{
	const struct statistics_v2 statistics = { 0 };
	Google__Protobuf__Any any;
	struct value value;

	(void)state;
	assert_int_equal(metrics_pack(&statistics, true, &any), 0);
	/* All parts are there, but for pressure that nobody counts. */
	assert_true(find(any.value.data, any.value.len, "1", &value));
	assert_true(find(any.value.data, any.value.len, "2", &value));
	assert_true(find(any.value.data, any.value.len, "4", &value));
	assert_true(find(any.value.data, any.value.len, "8", &value));
	assert_false(find(any.value.data, any.value.len, "2.7", &value));
	any_deinit(&any);
	assert_int_equal(metrics_pack(&statistics, false, &any), 0);
	assert_true(find(any.value.data, any.value.len, "3.1", &value));
	assert_true(find(any.value.data, any.value.len, "4.33", &value));
	assert_true(find(any.value.data, any.value.len, "9", &value));
	any_deinit(&any);
}

/* A guest that tells of all devices there could be makes an answer that still fits a frame. */
static void test_flood(void **state)
{
	struct statistics_v2 statistics = { 0 };
	Google__Protobuf__Any any;
	const size_t count = 65536;

	(void)state;
	statistics.io.item = malloc(count * sizeof(struct io_entry));
	statistics.hugetlb.item = calloc(count, sizeof(struct hugetlb_entry));
	statistics.io.count = statistics.hugetlb.count = count;
	assert_non_null(statistics.io.item);
	assert_non_null(statistics.hugetlb.item);
	memset(statistics.io.item, 0xff, count * sizeof(struct io_entry));
	for (int v2 = 0; v2 < 2; v2++) {
		assert_int_equal(metrics_pack(&statistics, v2, &any), 0);
		assert_in_range(any.value.len, 4096, 2u << 20);
		any_deinit(&any);
	}
	free(statistics.io.item);
	free(statistics.hugetlb.item);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v2),
		cmocka_unit_test(test_v1),
		cmocka_unit_test(test_greatest),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_flood),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
