/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The services of a Windows host: what is registered, what is refused, in which words, and the
 * .reg text, with a registry in memory. The real one has a test of its own, below contrib/windows.
 */

#include "shim/hv/service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define OURS "9866c7bc-0c89-4cb0-9427-5b526d1ae83b"
#define THEIRS "12345678-9abc-def0-1122-334455667788"
#define BUILTIN "999e53d4-3d5c-4c3e-8779-bed06ec056e1"
#define KEY "[HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\" \
	    "Virtualization\\GuestCommunicationServices\\"

static char file_name[32]; /* in the build folder */
static struct hv_registered table[8];
static unsigned count, writes;
static bool no_administrator;

static int find(const struct hv_guid *id)
{
	for (unsigned i = 0; i < count; i++) {
		if (hv_guid_equal(&table[i].id, id))
			return (int)i;
	}
	return -ENOENT;
}

static int fake_read(const struct hv_guid *id, struct hv_registered *ret)
{
	int i = find(id);
	if (i >= 0)
		*ret = table[i];
	return i < 0 ? i : 0;
}

/* A key whose name is no GUID comes first. */
static int fake_at(unsigned index, struct hv_registered *ret)
{
	if (!index)
		return -EINVAL;
	if (index > count)
		return -ENOENT;
	*ret = table[index - 1];
	return 0;
}

static int fake_write(const struct hv_registered *service)
{
	if (no_administrator)
		return -EACCES;
	int i = find(&service->id);
	table[i < 0 ? (int)count++ : i] = *service;
	writes++;
	return 0;
}

static int fake_remove(const struct hv_guid *id)
{
	if (no_administrator)
		return -EACCES;
	int i = find(id);
	assert_true(i >= 0);
	table[i] = table[--count];
	return 0;
}

static const struct registry fake = { true, fake_read, fake_at, fake_write, fake_remove };
static const struct registry absent = { false, fake_read, fake_at, NULL, NULL };

static void add(const char *id, const char *name, bool ours)
{
	struct hv_registered *service = &table[count++];
	*service = (struct hv_registered){ .ours = ours };
	snprintf(service->name, sizeof(service->name), "%s", name);
	assert_int_equal(hv_guid_parse(id, &service->id), 0);
}

static void start(void)
{
	count = writes = 0;
	no_administrator = false;
	add(BUILTIN, "VM Session Service", false);
	add(THEIRS, "theirs", false);
}

static char printed[4096];
static size_t length;
static struct fault fault;

/* The words end with NULL. */
static int run(const struct registry *registry, ...)
{
	char *argv[8];
	int argc = 0;
	va_list args;
	va_start(args, registry);
	while ((argv[argc] = va_arg(args, char *)) != NULL)
		argc++;
	va_end(args);
	FILE *file = fopen(file_name, "w+b");
	assert_non_null(file);
	fault = (struct fault)FAULT_NULL;
	int r = hv_service(registry, argc, argv, file, &fault);
	rewind(file);
	length = fread(printed, 1, sizeof(printed) - 1, file);
	printed[length] = '\0';
	fclose(file);
	assert_int_equal(r < 0, fault.text[0] != '\0');
	return r;
}

static void expect_fault(const char *part)
{
	if (!strstr(fault.text, part))
		fail_msg("%s", fault.text);
	assert_string_equal(printed, "");
}

static void test_register(void **state)
{
	struct hv_guid id;
	(void)state;
	start();
	assert_int_equal(run(&fake, "register", "--name", "MyGcs", "--guid", OURS, NULL), 0);
	assert_string_equal(printed, OURS "\n");
	assert_int_equal(count, 3);
	assert_true(table[2].ours);
	assert_string_equal(table[2].name, "MyGcs");
	/* Once more, and with another name. */
	assert_int_equal(run(&fake, "register", "--guid=" OURS, "--name=MyGcs", NULL), 0);
	assert_string_equal(printed, OURS "\n");
	assert_int_equal(writes, 1);
	assert_int_equal(run(&fake, "register", "--guid={" OURS "}", "--name=Other", NULL), 0);
	assert_int_equal(count, 3);
	assert_string_equal(table[2].name, "Other");
	/* A port, and no GUID at all. */
	assert_int_equal(run(&fake, "register", "--guid=5000", "--name=p", NULL), 0);
	assert_string_equal(printed, "00001388-facb-11e6-bd58-64006a7986d3\n");
	assert_int_equal(run(&fake, "register", "--name=random", NULL), 0);
	assert_int_equal(strlen(printed), HV_GUID_TEXT);
	printed[HV_GUID_TEXT - 1] = '\0';
	assert_int_equal(hv_guid_parse(printed, &id), 0);
	assert_true(hv_guid_equal(&id, &table[4].id));
	/* What others have registered stays as it is. */
	assert_int_equal(run(&fake, "register", "--guid=" THEIRS, "--name=theirs", NULL), 0);
	assert_int_equal(run(&fake, "register", "--guid=" THEIRS, "--name=mine", NULL), -EEXIST);
	expect_fault("somebody else's already: \"theirs\"");
	assert_false(table[1].ours);
}

static void test_refused(void **state)
{
#define SIXTY_FOUR "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	static const char long_name[] = "--name=" SIXTY_FOUR SIXTY_FOUR SIXTY_FOUR SIXTY_FOUR;
	static const struct {
		const char *words[4];
		const char *why;
	} rows[] = {
		{ { "register" }, "--name NAME" },
		{ { "register", "--name" }, "lacks its argument" },
		{ { "register", "--name=" }, "1 to 255 bytes" },
		{ { "register", "--name=a\nb" }, "control characters" },
		{ { "register", "--name=\xff" }, "UTF-8" },
		{ { "register", long_name }, "1 to 255 bytes" },
		{ { "register", "--names=x" }, "unknown" },
		{ { "register", "--name=x", "y" }, "nothing but options" },
		{ { "register", "--name=x", "--guid=parent" }, "neither a GUID nor a port" },
		{ { "register", "--name=x", "--guid=" BUILTIN }, "Windows' own \"VM Session Service\"" },
		{ { "register", "--name=x", "--guid=A5201C21-2770-4C11-A68E-F182EDB29220" },
		  "Windows' own \"VM Session Service-2\"" },
		{ { "register", "--name=x", "--guid=acef5661-84a1-4e44-856b-6245e69f4620" },
		  "Windows' own" },
		{ { "register", "--name=x", "--guid=a42e7cda-d03f-480c-9cc2-a4de20abb878" },
		  "the VmId of parent" },
		{ { "register", "--name=x", "--guid=00000000-0000-0000-0000-000000000000" },
		  "the VmId of any" },
		{ { "unregister" }, "needs a GUID" },
		{ { "unregister", BUILTIN }, "Windows' own" },
		{ { "unregister", THEIRS }, "registered by somebody else: \"theirs\"" },
		{ { "unregister", OURS }, "is not registered" },
		{ { "unregister", THEIRS, OURS }, "one service at a time" },
		{ { "show", OURS }, "is not registered" },
		{ { "show", "x" }, "needs a GUID" },
		{ { "list", OURS }, "no option but --reg" },
	};
	(void)state;
	start();
	for (size_t i = 0; i < array_size(rows); i++) {
		const char *const *w = rows[i].words;
		assert_true(run(&fake, w[0], w[1], w[2], w[3], NULL) < 0);
		expect_fault(rows[i].why);
	}
	assert_int_equal(count, 2);
	assert_int_equal(writes, 0);

	add(OURS, "ours", true);
	no_administrator = true;
	assert_int_equal(run(&fake, "register", "--name=x", NULL), -EACCES);
	expect_fault("Run as administrator");
	assert_int_equal(run(&fake, "unregister", OURS, NULL), -EACCES);
	expect_fault("Run as administrator");
}

static void test_unregister(void **state)
{
	(void)state;
	start();
	add(OURS, "ours", true);
	assert_int_equal(run(&fake, "unregister", "{" OURS "}", NULL), 0);
	assert_string_equal(printed, "");
	assert_int_equal(count, 2);
}

static void test_list_and_show(void **state)
{
	(void)state;
	start();
	add(OURS, "ours", true);
	assert_int_equal(run(&fake, "list", NULL), 0);
	assert_non_null(strstr(printed, BUILTIN "  Windows     VM Session Service\n"));
	assert_non_null(strstr(printed, THEIRS "  -           theirs\n"));
	assert_non_null(strstr(printed, OURS "  hvrun       ours\n"));
	assert_int_equal(run(&fake, "show", OURS, NULL), 0);
	assert_non_null(strstr(printed, "name:         ours\n"));
	assert_non_null(strstr(printed, "registered by: hvrun\n"));
	assert_non_null(strstr(printed, "GuestCommunicationServices\\9866C7BC-0C89-"));
	assert_int_equal(run(&fake, "list", "--help", NULL), 0);
	assert_non_null(strstr(printed, "usage: hv"));
}

/* The form of the file that every introduction shows, and our tag. */
static void test_reg(void **state)
{
	static const char begin[] = "Windows Registry Editor Version 5.00\r\n\r\n";
	static const char ours[] = KEY "9866C7BC-0C89-4CB0-9427-5B526D1AE83B]\r\n"
	                           "\"ElementName\"=\"MyGcs\"\r\n"
	                           "\"RegisteredBy\"=\"hvrun\"\r\n\r\n";
	char expected[2048];
	(void)state;
	start();
	assert_int_equal(run(&absent, "register", "--name=MyGcs", "--guid=" OURS, NULL), 0);
	snprintf(expected, sizeof(expected), "%s%s", begin, ours);
	assert_string_equal(printed, expected);
	assert_int_equal(run(&fake, "register", "--reg", "--name=MyGcs", "--guid=" OURS, NULL), 0);
	assert_string_equal(printed, expected);
	assert_int_equal(count, 2);

	assert_int_equal(run(&absent, "unregister", OURS, NULL), 0);
	assert_non_null(strstr(printed, "[-HKEY_LOCAL_MACHINE\\SOFTWARE\\"));
	assert_int_equal(run(&fake, "unregister", "--reg", OURS, NULL), -ENOENT);

	count = 0;
	add(BUILTIN, "VM Session Service", false);
	assert_int_equal(run(&fake, "list", "--reg", NULL), 0);
	snprintf(expected, sizeof(expected), "%s%s", begin,
	         KEY "999E53D4-3D5C-4C3E-8779-BED06EC056E1]\r\n"
	         "\"ElementName\"=\"VM Session Service\"\r\n\r\n");
	assert_string_equal(printed, expected);
	assert_int_equal(run(&fake, "show", "--reg", BUILTIN, NULL), 0);
	assert_string_equal(printed, expected);

	/* Nothing that ends a string too early; what is not ASCII makes all of it UTF-16. */
	assert_int_equal(run(&absent, "register", "--name=a\"b\\c", "--guid=1", NULL), 0);
	assert_non_null(strstr(printed, "\"ElementName\"=\"a\\\"b\\\\c\"\r\n"));
	assert_int_equal(run(&absent, "register", "--guid=1",
	                     "--name=\xc3\xbc" "\xe2\x82\xac" "\xf0\x9f\x98\x80", NULL), 0);
	assert_memory_equal(printed, "\xff\xfeW\0i\0n\0", 8);
	static const char wide_name[] = "\"\0=\0\"\0\xfc\0\xac\x20\x3d\xd8\0\xde\"\0\r\0\n";
	const char *at = memchr(printed + 2, 0xfc, length - 2);
	assert_non_null(at);
	assert_memory_equal(at - 6, wide_name, sizeof(wide_name));
}

static void test_builtins(void **state)
{
	struct hv_registered service;
	char text[HV_GUID_TEXT];
	(void)state;
	for (unsigned i = 0; hv_builtin_at(i, &service) == 0; i++) {
		assert_false(service.ours);
		assert_string_equal(hv_builtin_name(&service.id), service.name);
		assert_int_equal(i < 2, true);
	}
	assert_int_equal(hv_builtin_at(0, &service), 0);
	assert_string_equal(reg_key(&service.id, text), "999E53D4-3D5C-4C3E-8779-BED06EC056E1");
}

static int remove_file(void **state)
{
	(void)state;
	return remove(file_name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_register),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_unregister),
		cmocka_unit_test(test_list_and_show),
		cmocka_unit_test(test_reg),
		cmocka_unit_test(test_builtins),
	};
	snprintf(file_name, sizeof(file_name), "test-hv-%d.out", (int)getpid());
	return cmocka_run_group_tests(tests, NULL, remove_file);
}
