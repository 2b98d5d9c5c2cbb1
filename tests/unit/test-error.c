/* SPDX-License-Identifier: Apache-2.0 */

/* What each carrier says, what that means, and in which words. */

#include "hvsocket/hvsocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

/* A carrier as a column. On Linux a hyperv address may be carried by each of the others. */
#define WINDOWS (1u << HV_SCHEME_HYPERV)
#define VSOCK (1u << HV_SCHEME_VSOCK)
#define HYBRID (1u << HV_SCHEME_HYBRID)
#define UNIX (1u << HV_SCHEME_UNIX)
#define ALL (WINDOWS | VSOCK | HYBRID | UNIX)

/* What is not listed for a carrier is HV_OTHER there. */
static const struct {
	enum hv_error meaning;
	int error;
	unsigned schemes;
} rows[] = {
	{ HV_REFUSED, ECONNREFUSED, ALL },
	{ HV_REFUSED, ENOENT, WINDOWS | HYBRID | UNIX }, /* the file */
	{ HV_REFUSED, 10061, WINDOWS },

	{ HV_TIMEOUT, ETIMEDOUT, ALL },
	{ HV_TIMEOUT, EAGAIN, WINDOWS | HYBRID | UNIX }, /* the backlog */
	{ HV_TIMEOUT, 10060, WINDOWS },

	{ HV_GONE, ECONNRESET, ALL },
	{ HV_GONE, EPIPE, ALL },
	{ HV_GONE, ENOTCONN, ALL },
	{ HV_GONE, ECONNABORTED, ALL },
	{ HV_GONE, ESHUTDOWN, ALL },
	/* For an end of stream, on the kernels that are wrong there. */
	{ HV_GONE, EIO, WINDOWS | VSOCK },
	{ HV_GONE, ENOMEM, WINDOWS | VSOCK },
	{ HV_GONE, 10052, WINDOWS },
	{ HV_GONE, 10053, WINDOWS },
	{ HV_GONE, 10054, WINDOWS },
	{ HV_GONE, 10057, WINDOWS },
	{ HV_GONE, 10058, WINDOWS },

	{ HV_BAD_ADDRESS, EADDRNOTAVAIL, ALL },
	{ HV_BAD_ADDRESS, ENETUNREACH, WINDOWS | VSOCK },
	{ HV_BAD_ADDRESS, ENODEV, WINDOWS | VSOCK },
	{ HV_BAD_ADDRESS, ENAMETOOLONG, WINDOWS | HYBRID | UNIX },
	{ HV_BAD_ADDRESS, ENOTDIR, WINDOWS | HYBRID | UNIX },
	{ HV_BAD_ADDRESS, ELOOP, WINDOWS | HYBRID | UNIX },
	{ HV_BAD_ADDRESS, 10049, WINDOWS },
	{ HV_BAD_ADDRESS, 10051, WINDOWS },

	{ HV_DENIED, EACCES, ALL },
	{ HV_DENIED, EPERM, ALL }, /* seccomp */
	{ HV_DENIED, 10013, WINDOWS },

	{ HV_DISABLED, EOPNOTSUPP, WINDOWS },
	{ HV_DISABLED, 10022, WINDOWS },

	{ HV_UNSUPPORTED, EAFNOSUPPORT, ALL },
	{ HV_UNSUPPORTED, ESOCKTNOSUPPORT, ALL },
	{ HV_UNSUPPORTED, EPROTONOSUPPORT, ALL },
	{ HV_UNSUPPORTED, EOPNOTSUPP, VSOCK | HYBRID | UNIX },
	{ HV_UNSUPPORTED, EPROTOTYPE, WINDOWS | HYBRID | UNIX },
	{ HV_UNSUPPORTED, 10041, WINDOWS },
	{ HV_UNSUPPORTED, 10043, WINDOWS },
	{ HV_UNSUPPORTED, 10044, WINDOWS },
	{ HV_UNSUPPORTED, 10047, WINDOWS },
	{ HV_UNSUPPORTED, 10050, WINDOWS },

	{ HV_IN_USE, EADDRINUSE, ALL },
	{ HV_IN_USE, 10048, WINDOWS },

	{ HV_ERROR_NONE, 0, ALL },
};

static enum hv_error expected(enum hv_scheme scheme, int error)
{
	for (size_t i = 0; i < array_size(rows); i++) {
		if (rows[i].error == error && rows[i].schemes & 1u << scheme)
			return rows[i].meaning;
	}
	return HV_OTHER;
}

/* Every number that a system may give, on every carrier. */
static void test_errors(void **state)
{
	static const struct {
		int first, last;
	} numbers[] = { { 0, 250 }, { 10000, 10200 } };
	(void)state;
	for (enum hv_scheme scheme = HV_SCHEME_HYPERV; scheme <= HV_SCHEME_UNIX; scheme++) {
		for (size_t i = 0; i < array_size(numbers); i++) {
			for (int e = numbers[i].first; e <= numbers[i].last; e++) {
				enum hv_error got = hv_error_from_errno(scheme, -e);
				if (got != expected(scheme, e))
					fail_msg("scheme %d, error %d: %d", scheme, e, got);
			}
		}
	}
	for (enum hv_error e = HV_ERROR_NONE; e <= HV_OTHER; e++) {
		assert_non_null(hv_error_text(e));
		assert_int_equal(hv_error_retryable(e), e == HV_REFUSED || e == HV_TIMEOUT);
		/* One number of ours for each meaning, which means the same again. */
		if (e != HV_OTHER)
			assert_int_equal(hv_error_from_errno(HV_SCHEME_HYPERV, hv_error_to_errno(e)), e);
	}
}

static void test_explain(void **state)
{
	static const struct {
		enum hv_scheme scheme;
		int error;
		const char *text; /* part of it */
	} texts[] = {
		{ HV_SCHEME_HYPERV, -10047, "Hyper-V is not enabled" },
		{ HV_SCHEME_HYPERV, -10050, "Hyper-V is not enabled" },
		{ HV_SCHEME_HYPERV, -10013, "administrator" },
		{ HV_SCHEME_HYPERV, -10022, "disabled" },
		{ HV_SCHEME_HYPERV, -10049, "makes no sense on this machine" },
		{ HV_SCHEME_HYPERV, -10060, "not registered" },
		{ HV_SCHEME_HYPERV, -10061, "not registered" },
		{ HV_SCHEME_HYPERV, -10054, "gone" },
		{ HV_SCHEME_HYPERV, -EADDRNOTAVAIL, "makes no sense on this machine" },
		{ HV_SCHEME_HYPERV, -10099, "unexpected" },
		{ HV_SCHEME_VSOCK, -10047, "unexpected" },
		{ HV_SCHEME_VSOCK, -ECONNREFUSED, "nobody listens" },
	};
	(void)state;
	for (size_t i = 0; i < array_size(texts); i++) {
		const char *text = hv_error_explain(texts[i].scheme, texts[i].error);
		if (!strstr(text, texts[i].text))
			fail_msg("%d: %s", texts[i].error, text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_explain),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
