/* SPDX-License-Identifier: Apache-2.0 */

/* Faults: what their text may hold, and the texts of errnos. */

#include "oci/fault.h"
#include "oci/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void test_set(void **state)
{
	struct fault fault = FAULT_NULL;

	(void)state;
	assert_int_equal(fault.hresult, HRESULT_OK);
	assert_int_equal(fault_set(&fault, -ENOENT, HRESULT_NOT_FOUND, "process %d", 7), -ENOENT);
	assert_int_equal(fault.hresult, HRESULT_NOT_FOUND);
	assert_string_equal(fault.text, "process 7");
	assert_int_equal(fault_set(NULL, -EIO, HRESULT_FAIL, "%s", "x"), -EIO);
	assert_int_equal(fault_errno(NULL, -EIO, "%s", "x"), -EIO);
	/* More about a fault, in the fault itself. */
	fault_set(&fault, -EIO, HRESULT_FAIL, "container \"%s\": %s", "a", fault.text);
	assert_string_equal(fault.text, "container \"a\": process 7");
}

static void test_errno(void **state)
{
	struct fault fault = FAULT_NULL;

	(void)state;
	assert_int_equal(fault_errno(&fault, -ENOENT, "open %s", "/x"), -ENOENT);
	assert_int_equal(fault.hresult, HRESULT_FAIL);
	assert_string_equal(fault.text, "open /x: no such file or directory");
	assert_string_equal(errno_text(EACCES), "permission denied");
	assert_string_equal(errno_text(-EACCES), "permission denied");
	assert_string_equal(errno_text(0), "success");
	assert_string_equal(errno_text(123456), "error 123456");
	assert_string_equal(errno_text(-41), "error 41");
	assert_string_equal(errno_text(INT32_MIN), "error 2147483648");
	for (int i = 0; i < 200; i++) {
		const char *text = errno_text(i);
		assert_true(*text >= 'a' && *text <= 'z');
	}
}

static void test_harmless(void **state)
{
	static const struct {
		const char *from, *to;
	} cases[] = {
		{ "two\nlines\r\n", "two?lines??" },
		{ "\x1b[31mred\x7f\t", "?[31mred??" },
		{ "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
		  "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80" },
		{ "c1: \xc2\x9b" "31m \xc2\x85 \xc2\xa0", "c1: ?31m ? \xc2\xa0" },
		{ "\xff\xc3x\x80\xe2\x82", "??x???" },
		{ "\xed\xa0\x80", "???" },             /* a surrogate */
		{ "\xc0\x80 \xe0\x80\x80", "?? ???" }, /* overlong */
		{ "\xf4\x90\x80\x80", "????" },        /* above U+10FFFF */
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct fault fault = FAULT_NULL;
		fault_set(&fault, -EIO, HRESULT_FAIL, "%s", cases[i].from);
		assert_string_equal(fault.text, cases[i].to);
	}
}

static void test_cut(void **state)
{
	struct fault fault = FAULT_NULL;
	char text[2 * FAULT_TEXT];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	fault_set(&fault, -EIO, HRESULT_FAIL, "%s", text);
	assert_int_equal(strlen(fault.text), FAULT_TEXT - 1);
	assert_non_null(strstr(fault.text, "xx…xx"));
	/* What was done and the reason are what must survive. */
	fault_set(&fault, -EIO, HRESULT_FAIL, "exec: \"%s\": not found", text);
	assert_int_equal(strlen(fault.text), FAULT_TEXT - 1);
	assert_memory_equal(fault.text, "exec: \"xx", 9);
	assert_non_null(strstr(fault.text, "xx\": not found"));
	fault_set(&fault, -EIO, HRESULT_FAIL, "more: %s", fault.text);
	assert_memory_equal(fault.text, "more: exec: \"xx", 15);
	assert_non_null(strstr(fault.text, "xx\": not found"));
	fault_errno(&fault, -EPERM, "%s", text);
	assert_int_equal(strlen(fault.text), FAULT_TEXT - 1);
	assert_string_equal(fault.text + FAULT_TEXT - 1 - strlen("xx: operation not permitted"),
	                    "xx: operation not permitted");
	/* One byte less than too much, and one more. */
	for (size_t length = FAULT_TEXT - 2; length <= FAULT_TEXT + 1; length++) {
		fault_set(&fault, -EIO, HRESULT_FAIL, "%.*s", (int)length, text);
		assert_int_equal(strlen(fault.text), length < FAULT_TEXT ? length : FAULT_TEXT - 1);
		assert_int_equal(strstr(fault.text, "…") != NULL, length >= FAULT_TEXT);
	}
	/* Characters are cut as a whole, wherever the cut falls. */
	for (size_t before = 0; before < 4; before++) {
		memset(text, 'x', before);
		for (size_t i = before; i + 4 < sizeof(text); i += 4)
			memcpy(text + i, "\xf0\x9f\x98\x80", 5);
		fault_set(&fault, -EIO, HRESULT_FAIL, "%s", text);
		size_t length = strlen(fault.text);
		const char *cut = strstr(fault.text, "…");
		assert_in_range(length, FAULT_TEXT - 7, FAULT_TEXT - 1);
		assert_non_null(cut);
		for (const char *at = fault.text + before; at < fault.text + length;) {
			size_t n = utf8_length(at, 4);
			assert_int_equal(n, at == cut ? 3 : 4);
			at += n;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_errno),
		cmocka_unit_test(test_harmless),
		cmocka_unit_test(test_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
