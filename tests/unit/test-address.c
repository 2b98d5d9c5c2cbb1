/* SPDX-License-Identifier: Apache-2.0 */

/* Addresses: the 36 bytes of SOCKADDR_HV, sockaddr_vm, and every form of endpoint URL. */

#include "hvsocket/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#define VM "12345678-9abc-def0-1122-334455667788"
#define FOREIGN "999e53d4-3d5c-4c3e-8779-bed06ec056e1"

static struct hv_guid guid(const char *text)
{
	struct hv_guid parsed;
	assert_int_equal(hv_guid_parse(text, &parsed), 0);
	return parsed;
}

static void test_kinds(void **state)
{
	static const struct {
		const struct hv_guid *vm;
		enum hv_vm_kind kind;
		const char *name;
	} rows[] = {
		{ &hv_guid_zero, HV_VM_ANY, "any" },
		{ &hv_guid_children, HV_VM_CHILDREN, "children" },
		{ &hv_guid_loopback, HV_VM_LOOPBACK, "loopback" },
		{ &hv_guid_parent, HV_VM_PARENT, "parent" },
		{ &hv_guid_silohost, HV_VM_SILOHOST, "silohost" },
		{ &hv_guid_broadcast, HV_VM_BROADCAST, "broadcast" },
		{ &hv_guid_vsock_template, HV_VM_ONE, "vm" },
	};
	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		assert_int_equal(hv_vm_kind(rows[i].vm), rows[i].kind);
		assert_string_equal(hv_vm_kind_name(rows[i].kind), rows[i].name);
	}
}

static void test_sockaddr_hv(void **state)
{
	static const uint8_t expected[HV_SOCKADDR_SIZE] = {
		0x22, 0x00, 0x00, 0x00,
		0xda, 0x7c, 0x2e, 0xa4, 0x3f, 0xd0, 0x0c, 0x48,
		0x9c, 0xc2, 0xa4, 0xde, 0x20, 0xab, 0xb8, 0x78,
		0xc9, 0x0a, 0x00, 0x00, 0xcb, 0xfa, 0xe6, 0x11,
		0xbd, 0x58, 0x64, 0x00, 0x6a, 0x79, 0x86, 0xd3,
	};
	(void)state;
	struct hv_address address = { hv_guid_parent, hv_guid_from_port(2761) }, back;
	uint8_t bytes[HV_SOCKADDR_SIZE + 1];
	hv_address_encode(&address, bytes);
	uint16_t family = HV_AF_HYPERV;
	assert_memory_equal(bytes, &family, 2);
	assert_memory_equal(bytes + 2, expected + 2, HV_SOCKADDR_SIZE - 2);
	assert_int_equal(hv_address_decode(bytes, HV_SOCKADDR_SIZE, &back), 0);
	assert_true(hv_address_equal(&address, &back));

	for (size_t size = 0; size <= HV_SOCKADDR_SIZE + 1; size++) {
		if (size != HV_SOCKADDR_SIZE)
			assert_int_equal(hv_address_decode(bytes, size, &back), -EINVAL);
	}
	family = AF_VSOCK;
	memcpy(bytes, &family, 2);
	assert_int_equal(hv_address_decode(bytes, HV_SOCKADDR_SIZE, &back), -EINVAL);

	back.service.byte[15] ^= 1;
	assert_false(hv_address_equal(&address, &back));
}

static void test_sockaddr_vm(void **state)
{
	static const struct {
		const struct hv_guid *vm;
		int result;
		uint32_t cid;
		const struct hv_guid *back;
	} rows[] = {
		{ &hv_guid_zero, 0, VMADDR_CID_ANY, &hv_guid_zero },
		{ &hv_guid_children, 0, VMADDR_CID_ANY, &hv_guid_zero },
		{ &hv_guid_loopback, 0, 1, &hv_guid_loopback },
		{ &hv_guid_parent, 0, 2, &hv_guid_parent },
		{ &hv_guid_silohost, -EADDRNOTAVAIL, 0, NULL },
		{ &hv_guid_broadcast, -EADDRNOTAVAIL, 0, NULL },
		{ &hv_guid_vsock_template, -EADDRNOTAVAIL, 0, NULL },
	};
	(void)state;
	assert_int_equal(sizeof(struct sockaddr_vm), 16);
	for (size_t i = 0; i < array_size(rows); i++) {
		struct hv_address address = { *rows[i].vm, hv_guid_from_port(0x40000000) }, back;
		struct sockaddr_vm vsock;
		assert_int_equal(hv_address_to_vsock(&address, &vsock), rows[i].result);
		if (rows[i].result < 0)
			continue;
		assert_int_equal(vsock.svm_family, AF_VSOCK);
		assert_int_equal(vsock.svm_cid, rows[i].cid);
		assert_int_equal(vsock.svm_port, 0x40000000);
		assert_int_equal(vsock.svm_flags, 0);
		hv_address_from_vsock(&vsock, &back);
		assert_true(hv_guid_equal(&back.vm, rows[i].back));
		assert_true(hv_guid_equal(&back.service, &address.service));
	}
	struct hv_address foreign = { hv_guid_parent, guid(FOREIGN) };
	struct sockaddr_vm vsock = { .svm_cid = 17, .svm_port = 3 };
	assert_int_equal(hv_address_to_vsock(&foreign, &vsock), -EADDRNOTAVAIL);
	hv_address_from_vsock(&vsock, &foreign);
	assert_int_equal(hv_vm_kind(&foreign.vm), HV_VM_ANY);
}

/* What is accepted, what it is then, and how we write it ourselves. */
static const struct {
	const char *url;
	const char *canonical;
	enum hv_scheme scheme;
	uint32_t cid;
	int64_t port;           /* -1 = none */
	const char *path;
} accepted[] = {
	{ "hyperv://parent/1024", "hyperv://parent/1024", HV_SCHEME_HYPERV, 0, 1024, "" },
	{ "hyperv://any/1", "hyperv://any/1", HV_SCHEME_HYPERV, 0, 1, "" },
	{ "hyperv://wildcard/1", "hyperv://any/1", HV_SCHEME_HYPERV, 0, 1, "" },
	{ "hyperv://zero/1", "hyperv://any/1", HV_SCHEME_HYPERV, 0, 1, "" },
	{ "HyperV://CHILDREN/1", "hyperv://children/1", HV_SCHEME_HYPERV, 0, 1, "" },
	{ "hyperv://loopback/0", "hyperv://loopback/0", HV_SCHEME_HYPERV, 0, 0, "" },
	{ "hyperv://silohost/5", "hyperv://silohost/5", HV_SCHEME_HYPERV, 0, 5, "" },
	{ "hyperv://broadcast/5", "hyperv://broadcast/5", HV_SCHEME_HYPERV, 0, 5, "" },
	{ "hyperv://parent", "hyperv://parent", HV_SCHEME_HYPERV, 0, -1, "" },
	{ "hyperv://parent/", "hyperv://parent", HV_SCHEME_HYPERV, 0, -1, "" },
	{ "hyperv://" VM "/5", "hyperv://" VM "/5", HV_SCHEME_HYPERV, 0, 5, "" },
	{ "hyperv://{" VM "}/" FOREIGN, "hyperv://" VM "/" FOREIGN, HV_SCHEME_HYPERV, 0, -1, "" },
	{ "hyperv://a42e7cda-d03f-480c-9cc2-a4de20abb878/00000AC9-FACB-11E6-BD58-64006A7986D3",
	  "hyperv://parent/2761", HV_SCHEME_HYPERV, 0, 2761, "" },
	{ "vsock://2:1024", "vsock://host:1024", HV_SCHEME_VSOCK, 2, 1024, "" },
	{ "vsock://host:1024", "vsock://host:1024", HV_SCHEME_VSOCK, 2, 1024, "" },
	{ "vsock://local:1024", "vsock://local:1024", HV_SCHEME_VSOCK, 1, 1024, "" },
	{ "vsock://hypervisor:1", "vsock://hypervisor:1", HV_SCHEME_VSOCK, 0, 1, "" },
	{ "vsock://any:1024", "vsock://any:1024", HV_SCHEME_VSOCK, VMADDR_CID_ANY, 1024, "" },
	{ "vsock://-1:1024", "vsock://any:1024", HV_SCHEME_VSOCK, VMADDR_CID_ANY, 1024, "" },
	{ "vsock://4294967295:9", "vsock://any:9", HV_SCHEME_VSOCK, VMADDR_CID_ANY, 9, "" },
	{ "vsock://:1024", "vsock://any:1024", HV_SCHEME_VSOCK, VMADDR_CID_ANY, 1024, "" },
	{ "vsock::1024", "vsock://any:1024", HV_SCHEME_VSOCK, VMADDR_CID_ANY, 1024, "" },
	{ "vsock:3:52", "vsock://3:52", HV_SCHEME_VSOCK, 3, 52, "" },
	{ "vsock:host:52", "vsock://host:52", HV_SCHEME_VSOCK, 2, 52, "" },
	{ "vsock://17:4294967294", "vsock://17:4294967294", HV_SCHEME_VSOCK, 17, 4294967294, "" },
	{ "vsock://17", "vsock://17", HV_SCHEME_VSOCK, 17, -1, "" },
	{ "vsock://any", "vsock://any", HV_SCHEME_VSOCK, VMADDR_CID_ANY, -1, "" },
	{ "vsock://3:10789/", "vsock://3:10789", HV_SCHEME_VSOCK, 3, 10789, "" },
	{ "hybrid:///run/vm/v.sock:1024", "hybrid:///run/vm/v.sock:1024", HV_SCHEME_HYBRID, 0, 1024,
	  "/run/vm/v.sock" },
	{ "hybrid:/run/v.sock:1024", "hybrid:///run/v.sock:1024", HV_SCHEME_HYBRID, 0, 1024,
	  "/run/v.sock" },
	{ "hvsock:///run/v.sock:1024", "hybrid:///run/v.sock:1024", HV_SCHEME_HYBRID, 0, 1024,
	  "/run/v.sock" },
	{ "vsock-mux:///run/v.sock:1024", "hybrid:///run/v.sock:1024", HV_SCHEME_HYBRID, 0, 1024,
	  "/run/v.sock" },
	{ "vsock-mux:/run/v.sock", "hybrid:///run/v.sock", HV_SCHEME_HYBRID, 0, -1, "/run/v.sock" },
	{ "hybrid:///a:b:c:7", "hybrid:///a:b:c:7", HV_SCHEME_HYBRID, 0, 7, "/a:b:c" },
	{ "hybrid:///a:5/v", "hybrid:///a:5/v", HV_SCHEME_HYBRID, 0, -1, "/a:5/v" },
	{ "hybrid:///v:" FOREIGN, "hybrid:///v:" FOREIGN, HV_SCHEME_HYBRID, 0, -1, "/v" },
	{ "hybrid:///v:00000ac9-facb-11e6-bd58-64006a7986d3", "hybrid:///v:2761", HV_SCHEME_HYBRID,
	  0, 2761, "/v" },
	{ "hvsock://parent/1024", "hyperv://parent/1024", HV_SCHEME_HYPERV, 0, 1024, "" },
	{ "hvsock://" VM "/" FOREIGN, "hyperv://" VM "/" FOREIGN, HV_SCHEME_HYPERV, 0, -1, "" },
	{ "unix:///run/x", "unix:///run/x", HV_SCHEME_UNIX, 0, -1, "/run/x" },
	{ "unix:/run/x:1", "unix:///run/x:1", HV_SCHEME_UNIX, 0, -1, "/run/x:1" },
};

static void check_accepted(const char *url, size_t i)
{
	struct hv_endpoint endpoint;
	const char *why = NULL;
	char text[HV_PATH_MAX + 64];
	if (hv_endpoint_parse(url, &endpoint, &why) < 0)
		fail_msg("%s: %s", url, why);
	assert_int_equal(endpoint.scheme, accepted[i].scheme);
	assert_int_equal(endpoint.cid, accepted[i].cid);
	assert_int_equal(endpoint.has_port, accepted[i].port >= 0);
	assert_string_equal(endpoint.path, accepted[i].path);
	if (accepted[i].port >= 0) {
		struct hv_guid service = hv_guid_from_port((uint32_t)accepted[i].port);
		assert_int_equal(endpoint.port, accepted[i].port);
		assert_true(hv_guid_equal(&endpoint.address.service, &service));
	}
	int n = hv_endpoint_format(&endpoint, text, sizeof(text));
	assert_int_equal(n, strlen(text));
	assert_string_equal(text, accepted[i].canonical);
}

static void test_urls(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(accepted); i++) {
		check_accepted(accepted[i].url, i);
		check_accepted(accepted[i].canonical, i);
	}
	struct hv_endpoint endpoint;
	assert_int_equal(hv_endpoint_parse("hyperv://children/" FOREIGN, &endpoint, NULL), 0);
	struct hv_guid foreign = guid(FOREIGN);
	assert_true(endpoint.has_service);
	assert_true(hv_guid_equal(&endpoint.address.service, &foreign));
	assert_true(hv_guid_equal(&endpoint.address.vm, &hv_guid_children));
	/* As snprintf: the length that it would have. */
	char small[8];
	assert_int_equal(hv_endpoint_format(&endpoint, small, sizeof(small)), 54);
	assert_string_equal(small, "hyperv:");
}

static void test_bad_urls(void **state)
{
	static const struct {
		const char *url;
		const char *why; /* part of the text */
	} rows[] = {
		{ "", "begins with none" },
		{ "parent/1024", "begins with none" },
		{ "tcp://1.2.3.4:5", "begins with none" },
		{ "hyperv:parent/1", "two slashes" },
		{ "hyperv:///1024", "the VM is neither" },
		{ "hyperv://vm/1024", "the VM is neither" },
		{ "hyperv://parent/-1", "the service is neither" },
		{ "hyperv://parent/4294967295", "the service is neither" },
		{ "hyperv://parent/4294967296", "the service is neither" },
		{ "hyperv://parent/1024/", "the service is neither" },
		{ "hyperv://" VM "0/1", "the VM is neither" },
		{ "vsock:", "the CID is missing" },
		{ "vsock://", "the CID is missing" },
		{ "vsock://3:", "the port is not a number" },
		{ "vsock://3:-1", "the port is not a number" },
		{ "vsock://3:4294967295", "the port is not a number" },
		{ "vsock://3:99999999999999999999", "the port is not a number" },
		{ "vsock://3:0x10", "the port is not a number" },
		{ "vsock://3: 1", "the port is not a number" },
		{ "vsock://parent:1", "the CID is neither" },
		{ "vsock://1:2:3", "the CID is neither" },
		{ "vsock:///run/x:1", "the CID is neither" },
		{ "vsock://4294967296:1", "the CID is neither" },
		{ "vsock://" VM VM ":1", "too long" },
		{ "hybrid://run/x:1", "nothing may stand before" },
		{ "hybrid://localhost/run/x:1", "nothing may stand before" },
		{ "hybrid:run/x:1", "the path must be absolute" },
		{ "hybrid:", "the path must be absolute" },
		{ "hybrid:///", "the path must be absolute" },
		{ "hybrid:///run/:1", "the path must be absolute" },
		{ "hybrid:///:1", "the path must be absolute" },
		{ "hybrid:///run/x:", "the service is neither" },
		{ "hybrid:///run/x:port", "the service is neither" },
		{ "hybrid:///run/x:4294967295", "the service is neither" },
		{ "hvsock://run/x:1", "neither hvsock://VM/SERVICE" },
		{ "hvsock://x", "neither hvsock://VM/SERVICE" },
		{ "unix://x", "nothing may stand before" },
		{ "unix:x", "the path must be absolute" },
		{ "unix:///", "the path must be absolute" },
		{ "unix:///run/", "the path must be absolute" },
	};
	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		struct hv_endpoint endpoint;
		const char *why = NULL;
		assert_int_equal(hv_endpoint_parse(rows[i].url, &endpoint, &why), -EINVAL);
		assert_non_null(why);
		if (!strstr(why, rows[i].why))
			fail_msg("%s: %s", rows[i].url, why);
	}
	/* A path of any length is measured, none is cut. */
	char url[HV_PATH_MAX + 64] = "unix:///";
	struct hv_endpoint endpoint;
	memset(url + 8, 'x', HV_PATH_MAX - 2);
	assert_int_equal(hv_endpoint_parse(url, &endpoint, NULL), 0);
	assert_int_equal(strlen(endpoint.path), HV_PATH_MAX - 1);
	url[8 + HV_PATH_MAX - 2] = 'x';
	assert_int_equal(hv_endpoint_parse(url, &endpoint, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_sockaddr_hv),
		cmocka_unit_test(test_sockaddr_vm),
		cmocka_unit_test(test_urls),
		cmocka_unit_test(test_bad_urls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
