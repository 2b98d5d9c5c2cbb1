/* SPDX-License-Identifier: Apache-2.0 */

/* What each carrier says, what that means, and in which words. */

#include "hvsocket/hvsocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void test_errors(void **state)
{
	static const struct {
		enum hv_scheme scheme;
		int error;
		enum hv_error meaning;
	} rows[] = {
		{ HV_SCHEME_UNIX, 0, HV_ERROR_NONE },
		/* nobody listens */
		{ HV_SCHEME_HYPERV, -10061, HV_REFUSED },
		{ HV_SCHEME_HYPERV, -ECONNREFUSED, HV_REFUSED },
		{ HV_SCHEME_VSOCK, -ECONNREFUSED, HV_REFUSED },
		{ HV_SCHEME_HYBRID, -ECONNREFUSED, HV_REFUSED },
		{ HV_SCHEME_HYBRID, -ENOENT, HV_REFUSED },
		{ HV_SCHEME_UNIX, -ENOENT, HV_REFUSED },
		{ HV_SCHEME_VSOCK, -ENOENT, HV_OTHER },
		/* slow or absent */
		{ HV_SCHEME_HYPERV, -10060, HV_TIMEOUT },
		{ HV_SCHEME_HYPERV, -ETIMEDOUT, HV_TIMEOUT },
		{ HV_SCHEME_VSOCK, -ETIMEDOUT, HV_TIMEOUT },
		{ HV_SCHEME_HYBRID, -ETIMEDOUT, HV_TIMEOUT },
		{ HV_SCHEME_HYBRID, -EAGAIN, HV_TIMEOUT },
		{ HV_SCHEME_UNIX, -EAGAIN, HV_TIMEOUT },
		{ HV_SCHEME_VSOCK, -EAGAIN, HV_OTHER },
		/* gone */
		{ HV_SCHEME_HYPERV, -10053, HV_GONE },
		{ HV_SCHEME_HYPERV, -10054, HV_GONE },
		{ HV_SCHEME_HYPERV, -10057, HV_GONE },
		{ HV_SCHEME_HYPERV, -10052, HV_GONE },
		{ HV_SCHEME_HYPERV, -10058, HV_GONE },
		{ HV_SCHEME_HYPERV, -EPIPE, HV_GONE },
		{ HV_SCHEME_VSOCK, -ECONNRESET, HV_GONE },
		{ HV_SCHEME_VSOCK, -EPIPE, HV_GONE },
		{ HV_SCHEME_VSOCK, -ENOTCONN, HV_GONE },
		{ HV_SCHEME_VSOCK, -EIO, HV_GONE },
		{ HV_SCHEME_VSOCK, -ENOMEM, HV_GONE },
		{ HV_SCHEME_UNIX, -ENOMEM, HV_OTHER },
		{ HV_SCHEME_UNIX, -EIO, HV_OTHER },
		{ HV_SCHEME_HYBRID, -ECONNRESET, HV_GONE },
		/* makes no sense here */
		{ HV_SCHEME_HYPERV, -10049, HV_BAD_ADDRESS },
		{ HV_SCHEME_HYPERV, -10051, HV_BAD_ADDRESS },
		{ HV_SCHEME_HYPERV, -ENETUNREACH, HV_BAD_ADDRESS },
		{ HV_SCHEME_VSOCK, -EADDRNOTAVAIL, HV_BAD_ADDRESS },
		{ HV_SCHEME_VSOCK, -ENODEV, HV_BAD_ADDRESS },
		{ HV_SCHEME_HYBRID, -EADDRNOTAVAIL, HV_BAD_ADDRESS },
		{ HV_SCHEME_HYBRID, -ENAMETOOLONG, HV_BAD_ADDRESS },
		{ HV_SCHEME_UNIX, -ENODEV, HV_OTHER },
		/* denied */
		{ HV_SCHEME_HYPERV, -10013, HV_DENIED },
		{ HV_SCHEME_VSOCK, -EACCES, HV_DENIED },
		{ HV_SCHEME_VSOCK, -EPERM, HV_DENIED },
		{ HV_SCHEME_HYBRID, -EACCES, HV_DENIED },
		/* disabled */
		{ HV_SCHEME_HYPERV, -10022, HV_DISABLED },
		{ HV_SCHEME_HYPERV, -EOPNOTSUPP, HV_DISABLED },
		{ HV_SCHEME_VSOCK, -EOPNOTSUPP, HV_UNSUPPORTED },
		/* no such family */
		{ HV_SCHEME_HYPERV, -10041, HV_UNSUPPORTED },
		{ HV_SCHEME_HYPERV, -10043, HV_UNSUPPORTED },
		{ HV_SCHEME_HYPERV, -10044, HV_UNSUPPORTED },
		{ HV_SCHEME_HYPERV, -10047, HV_UNSUPPORTED },
		{ HV_SCHEME_HYPERV, -10050, HV_UNSUPPORTED },
		{ HV_SCHEME_VSOCK, -EAFNOSUPPORT, HV_UNSUPPORTED },
		{ HV_SCHEME_VSOCK, -ESOCKTNOSUPPORT, HV_UNSUPPORTED },
		/* in use */
		{ HV_SCHEME_HYPERV, -10048, HV_IN_USE },
		{ HV_SCHEME_VSOCK, -EADDRINUSE, HV_IN_USE },
		{ HV_SCHEME_HYBRID, -EADDRINUSE, HV_IN_USE },
		/* Winsock's numbers mean nothing elsewhere. */
		{ HV_SCHEME_VSOCK, -10061, HV_OTHER },
		{ HV_SCHEME_HYBRID, -EMFILE, HV_OTHER },
	};
	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		enum hv_error got = hv_error_from_errno(rows[i].scheme, rows[i].error);
		if (got != rows[i].meaning)
			fail_msg("scheme %d, error %d: %d", rows[i].scheme, rows[i].error, got);
	}
	for (enum hv_error e = HV_ERROR_NONE; e <= HV_OTHER; e++) {
		assert_non_null(hv_error_text(e));
		assert_int_equal(hv_error_retryable(e), e == HV_REFUSED || e == HV_TIMEOUT);
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
	} rows[] = {
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
	for (size_t i = 0; i < array_size(rows); i++) {
		const char *text = hv_error_explain(rows[i].scheme, rows[i].error);
		if (!strstr(text, rows[i].text))
			fail_msg("%d: %s", rows[i].error, text);
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
