/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The registry of Windows, or Wine's: what stands in it after our verbs, read back with the calls
 * of the system and not with ours, and what of others is left alone.
 */

#include "shim/hv/service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <windows.h>
#include <cmocka.h>

#define BRANCH L"SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\Virtualization\\" \
	       L"GuestCommunicationServices\\"
#define OURS "9866c7bc-0c89-4cb0-9427-5b526d1ae83b"
#define OURS_KEY L"9866C7BC-0C89-4CB0-9427-5B526D1AE83B"
#define THEIRS "12345678-9abc-def0-1122-334455667788"
#define THEIRS_KEY L"12345678-9ABC-def0-1122-334455667788"

static struct fault fault;

static int run(const char *verb, const char *word, const char *more)
{
	char words[3][64];
	char *argv[] = { words[0], words[1], words[2], NULL };
	snprintf(words[0], sizeof(words[0]), "%s", verb);
	snprintf(words[1], sizeof(words[1]), "%s", word);
	snprintf(words[2], sizeof(words[2]), "%s", more ? more : "");
	fault = (struct fault)FAULT_NULL;
	return hv_service(&registry_system, more ? 3 : 2, argv, stderr, &fault);
}

static struct hv_guid guid(const char *text)
{
	struct hv_guid parsed;
	assert_int_equal(hv_guid_parse(text, &parsed), 0);
	return parsed;
}

/* What the 64-bit view holds; the type has to be REG_SZ. */
static void expect(const wchar_t *key, const wchar_t *name, const wchar_t *text)
{
	wchar_t got[300];
	DWORD size = sizeof(got), type = 0;
	HKEY open;
	assert_int_equal(RegOpenKeyExW(HKEY_LOCAL_MACHINE, key, 0, KEY_READ | KEY_WOW64_64KEY,
	                               &open), ERROR_SUCCESS);
	assert_int_equal(RegQueryValueExW(open, name, NULL, &type, (BYTE *)got, &size),
	                 ERROR_SUCCESS);
	RegCloseKey(open);
	assert_int_equal(type, REG_SZ);
	assert_int_equal(size, (wcslen(text) + 1) * sizeof(*text));
	assert_memory_equal(got, text, size);
}

static bool is_there(const wchar_t *key)
{
	HKEY open;
	if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, key, 0, KEY_READ | KEY_WOW64_64KEY, &open))
		return false;
	RegCloseKey(open);
	return true;
}

static int clean(void **state)
{
	(void)state;
	RegDeleteKeyExW(HKEY_LOCAL_MACHINE, BRANCH OURS_KEY, KEY_WOW64_64KEY, 0);
	RegDeleteKeyExW(HKEY_LOCAL_MACHINE, BRANCH THEIRS_KEY, KEY_WOW64_64KEY, 0);
	RegDeleteKeyExW(HKEY_LOCAL_MACHINE, BRANCH L"no GUID", KEY_WOW64_64KEY, 0);
	return 0;
}

static void test_register(void **state)
{
	struct hv_guid id = guid(OURS);
	struct hv_registered service;
	(void)state;
	assert_int_equal(registry_system.read(&id, &service), -ENOENT);
	assert_int_equal(run("unregister", OURS, NULL), -ENOENT);
	assert_int_equal(run("register", "--name=My \xc3\x9c \xf0\x9f\x98\x80", "--guid=" OURS), 0);
	expect(BRANCH OURS_KEY, L"ElementName", L"My \x00dc \xd83d\xde00");
	expect(BRANCH OURS_KEY, L"RegisteredBy", L"hvrun");
	assert_int_equal(registry_system.read(&id, &service), 0);
	assert_true(service.ours);
	assert_string_equal(service.name, "My \xc3\x9c \xf0\x9f\x98\x80");
	/* Again, and with another name. */
	assert_int_equal(run("register", "--name=other", "--guid=" OURS), 0);
	expect(BRANCH OURS_KEY, L"ElementName", L"other");
	assert_int_equal(run("unregister", OURS, NULL), 0);
	assert_false(is_there(BRANCH OURS_KEY));
}

/* Somebody else's key, in whatever case, with or without a name. */
static void test_theirs(void **state)
{
	struct hv_guid id = guid(THEIRS);
	struct hv_registered service;
	HKEY key;
	(void)state;
	assert_int_equal(RegCreateKeyExW(HKEY_LOCAL_MACHINE, BRANCH THEIRS_KEY, 0, NULL, 0,
	                                 KEY_WRITE | KEY_WOW64_64KEY, NULL, &key, NULL),
	                 ERROR_SUCCESS);
	assert_int_equal(registry_system.read(&id, &service), 0);
	assert_string_equal(service.name, "");
	assert_int_equal(RegSetValueExW(key, L"ElementName", 0, REG_SZ, (const BYTE *)L"theirs", 14),
	                 ERROR_SUCCESS);
	/* A tag that is not ours, and one that is no text. */
	assert_int_equal(RegSetValueExW(key, L"RegisteredBy", 0, REG_SZ, (const BYTE *)L"them", 10),
	                 ERROR_SUCCESS);
	assert_int_equal(registry_system.read(&id, &service), 0);
	assert_string_equal(service.name, "theirs");
	assert_false(service.ours);
	assert_int_equal(RegSetValueExW(key, L"RegisteredBy", 0, REG_BINARY, (const BYTE *)"hvrun", 6),
	                 ERROR_SUCCESS);
	assert_int_equal(run("unregister", THEIRS, NULL), -EPERM);
	assert_int_equal(run("register", "--name=mine", "--guid=" THEIRS), -EEXIST);
	assert_int_equal(run("register", "--name=theirs", "--guid=" THEIRS), 0);
	expect(BRANCH THEIRS_KEY, L"ElementName", L"theirs");
	assert_true(is_there(BRANCH THEIRS_KEY));
	RegCloseKey(key);
}

static void test_enumerate(void **state)
{
	struct hv_guid ours = guid(OURS), theirs = guid(THEIRS);
	struct hv_registered service;
	unsigned seen = 0, odd = 0;
	HKEY key;
	int r;
	(void)state;
	assert_int_equal(RegCreateKeyExW(HKEY_LOCAL_MACHINE, BRANCH L"no GUID", 0, NULL, 0,
	                                 KEY_WRITE | KEY_WOW64_64KEY, NULL, &key, NULL),
	                 ERROR_SUCCESS);
	RegCloseKey(key);
	assert_int_equal(run("register", "--name=ours", "--guid=" OURS), 0);
	for (unsigned i = 0; (r = registry_system.at(i, &service)) != -ENOENT; i++) {
		odd += r == -EINVAL;
		seen += r >= 0 && (hv_guid_equal(&service.id, &ours) ||
		                   hv_guid_equal(&service.id, &theirs));
	}
	assert_int_equal(seen, 2);
	assert_int_equal(odd, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_register),
		cmocka_unit_test(test_theirs),
		cmocka_unit_test(test_enumerate),
	};
	clean(NULL);
	return cmocka_run_group_tests(tests, NULL, clean);
}
