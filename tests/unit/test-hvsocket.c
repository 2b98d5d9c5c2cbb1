/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The semantics of the VM wildcards, row by row, with made-up machines and peers: nothing here
 * reaches the kernel, because what would is asked at the functions that decide it.
 */

#include "hvsocket/transport.h"
#include "tests/unit/children.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define NO (-EADDRNOTAVAIL)

static const struct hv_guid foreign = { { 9, 9, 9 } };

/* What an accepted CID is called. */
static void test_label(void **state)
{
	static const struct {
		uint32_t cid;
		bool is_guest;
		enum hv_vm_kind kind;
		const struct hv_guid *vm;
	} rows[] = {
		{ 1, false, HV_VM_LOOPBACK, &hv_guid_loopback },
		{ 1, true, HV_VM_LOOPBACK, &hv_guid_loopback },
		{ 2, true, HV_VM_PARENT, &hv_guid_parent },
		{ 2, false, HV_VM_ANY, &hv_guid_zero },
		{ 3, false, HV_VM_ONE, &vm_one },
		{ 4, true, HV_VM_ONE, &vm_two },
		{ 5, false, HV_VM_ONE, &vm_dead },
		{ 6, false, HV_VM_ANY, &hv_guid_zero },
		{ 0, false, HV_VM_ANY, &hv_guid_zero },
		/* hv_sock before Linux 5.5: not known, so not let in by PARENT. */
		{ VMADDR_CID_ANY, true, HV_VM_ANY, &hv_guid_zero },
	};
	(void)state;
	struct hv_children children = registry();
	for (size_t i = 0; i < array_size(rows); i++) {
		struct sockaddr_vm from = { .svm_cid = rows[i].cid, .svm_port = 0x12345678 };
		struct hv_guid service = hv_guid_from_port(0x12345678);
		struct hv_peer peer;
		vsock_label(&from, rows[i].is_guest, &children, &peer);
		assert_int_equal(peer.kind, rows[i].kind);
		assert_int_equal(peer.cid, rows[i].cid);
		assert_true(hv_guid_equal(&peer.address.vm, rows[i].vm));
		assert_true(hv_guid_equal(&peer.address.service, &service));
	}
}

static const struct hv_machine host = { .cid = 2 };
static const struct hv_machine host_with_loopback = { .cid = 2, .has_loopback = true };
static const struct hv_machine guest = { .is_guest = true, .cid = 8 };
static const struct hv_machine guest_with_loopback = {
	.is_guest = true, .has_loopback = true, .cid = 8,
};
static const struct hv_machine hv_sock_guest = { .is_guest = true, .cid = VMADDR_CID_ANY };

/* The kernel would route most of these somewhere. */
static void test_dial_vsock(void **state)
{
	static const struct {
		uint32_t cid;
		const struct hv_machine *machine;
		int result;
	} rows[] = {
		{ 2, &host, NO },
		{ 2, &host_with_loopback, NO },
		{ 2, NULL, NO },
		{ 2, &guest, 0 },
		{ 2, &hv_sock_guest, 0 },
		{ 1, &host, NO },
		{ 1, &guest, NO },
		{ 1, NULL, NO },
		{ 1, &host_with_loopback, 0 },
		{ 1, &guest_with_loopback, 0 },
		{ 8, &guest, NO },
		{ 8, &guest_with_loopback, 0 },
		{ 0, &guest_with_loopback, NO },
		{ VMADDR_CID_ANY, &host, NO },
		{ VMADDR_CID_ANY, &guest_with_loopback, NO },
		{ VMADDR_CID_ANY, &hv_sock_guest, NO },
		{ 3, &host, 0 },
	};
	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		assert_int_equal(vsock_check_dial(rows[i].cid, rows[i].machine), rows[i].result);
		if (!rows[i].result)
			continue;
		struct hv_endpoint endpoint = {
			.scheme = HV_SCHEME_VSOCK, .cid = rows[i].cid, .port = 1024, .has_port = true,
		};
		bool pending = true;
		assert_int_equal(hv_connect(&endpoint, rows[i].machine, false, &pending),
		                 rows[i].result);
		assert_false(pending);
	}
}

/* The machines of the table, in the order of its columns. */
static const struct {
	const char *name;
	struct hv_machine machine;
} machines[] = {
	{ "host", { .cid = 2, .has_vsock = true } },
	{ "host with loopback", { .cid = 2, .has_vsock = true, .has_loopback = true } },
	{ "guest", { .cid = 8, .has_vsock = true, .has_loopback = true, .is_guest = true } },
	{ "hv_sock guest", { .cid = VMADDR_CID_ANY, .has_vsock = true, .is_guest = true } },
	{ "container on a host", { .cid = VMADDR_CID_ANY, .in_container = true } },
	{ "container in a guest",
	  { .cid = 8, .has_vsock = true, .is_guest = true, .in_container = true } },
};

/*
 * What the addresses mean: the ways out and in on each machine, in the order in which they are
 * tried, and which CIDs are let in where the way is AF_VSOCK. "CID:port" is AF_VSOCK; L is the
 * loopback socket, S that of a container's host, V a VMM's: "V:port" a CONNECT line, "_" a file.
 * NULL: refused. The service is port 1024; G: a GUID outside the template, R: one with a row.
 */
#define EVERYWHERE(ways) { ways, ways, ways, ways, ways, ways }
#define NOWHERE EVERYWHERE(NULL)
#define VM_ONE "00000001-0000-0000-0000-000000000000"
#define VM_DEAD "00000003-0000-0000-0000-000000000000"
#define VM_HYBRID "00000004-0000-0000-0000-000000000000"
#define VM_UNKNOWN "00000005-0000-0000-0000-000000000000"
static const struct {
	const char *vm;
	bool listening;
	char service;
	const char *ways[array_size(machines)];
	const char *admitted;
} meanings[] = {
	/* Everyone, but nobody under the name of a VM of ours that does not run. */
	{ "any", true, 'P',
	  { "-1:1024 L_1024 V_1024", "-1:1024 L_1024 V_1024", "-1:1024 L_1024 V_1024",
	    "-1:1024 L_1024 V_1024", "L_1024 V_1024", "-1:1024 L_1024 V_1024" },
	  "1 2 3 4 6 -1" },
	{ "any", true, 'G', EVERYWHERE("L_G V_G") },
	{ "any", true, 'R',
	  { "-1:77 L_R V_77 V_R", "-1:77 L_R V_77 V_R", "-1:77 L_R V_77 V_R", "-1:77 L_R V_77 V_R",
	    "L_R V_77 V_R", "-1:77 L_R V_77 V_R" },
	  "1 2 3 4 6 -1" },
	{ "any", false, 'P', NOWHERE },
	{ "any", false, 'G', NOWHERE },

	{ "children", true, 'P',
	  { "-1:1024 V_1024", "-1:1024 V_1024", "-1:1024 V_1024", "-1:1024 V_1024", "V_1024",
	    "-1:1024 V_1024" },
	  "3 4" },
	{ "children", true, 'G', EVERYWHERE("V_G") },
	{ "children", true, 'R',
	  { "-1:77 V_77 V_R", "-1:77 V_77 V_R", "-1:77 V_77 V_R", "-1:77 V_77 V_R", "V_77 V_R",
	    "-1:77 V_77 V_R" },
	  "3 4" },
	{ "children", false, 'P', NOWHERE },
	{ "children", false, 'R', NOWHERE },

	{ "loopback", true, 'P',
	  { "L_1024", "1:1024 L_1024", "1:1024 L_1024", "L_1024", "L_1024", "L_1024" }, "1" },
	{ "loopback", true, 'G', EVERYWHERE("L_G") },
	{ "loopback", true, 'R', { "L_R", "1:77 L_R", "1:77 L_R", "L_R", "L_R", "L_R" }, "1" },
	{ "loopback", false, 'P',
	  { "L_1024", "L_1024 1:1024", "L_1024 1:1024", "L_1024", "L_1024", "L_1024" } },
	{ "loopback", false, 'G', EVERYWHERE("L_G") },
	{ "loopback", false, 'R', { "L_R", "L_R 1:77", "L_R 1:77", "L_R", "L_R", "L_R" } },

	/* The nearest enclosing host; outside of a VM and a container there is none. */
	{ "parent", true, 'P', { NULL, NULL, "-1:1024", "-1:1024", NULL, NULL }, "2" },
	{ "parent", true, 'G', NOWHERE },
	{ "parent", true, 'R', { NULL, NULL, "-1:77", "-1:77", NULL, NULL }, "2" },
	{ "parent", false, 'P', { NULL, NULL, "2:1024", "2:1024", "S_1024", "S_1024" } },
	{ "parent", false, 'G', { NULL, NULL, NULL, NULL, "S_G", "S_G" } },
	{ "parent", false, 'R', { NULL, NULL, "2:77", "2:77", "S_R", "S_R" } },

	{ "silohost", true, 'P', NOWHERE },
	{ "silohost", true, 'G', NOWHERE },
	{ "silohost", false, 'P', { NULL, NULL, NULL, NULL, "S_1024", "S_1024" } },
	{ "silohost", false, 'G', { NULL, NULL, NULL, NULL, "S_G", "S_G" } },

	{ "broadcast", true, 'P', NOWHERE },
	{ "broadcast", true, 'G', NOWHERE },
	{ "broadcast", false, 'P', NOWHERE },
	{ "broadcast", false, 'R', NOWHERE },

	/* A VM of ours: by CID, or through the sockets of its VMM. */
	{ VM_ONE, true, 'P', EVERYWHERE("-1:1024"), "3" },
	{ VM_ONE, true, 'G', NOWHERE },
	{ VM_ONE, true, 'R', EVERYWHERE("-1:77"), "3" },
	{ VM_ONE, false, 'P', EVERYWHERE("3:1024") },
	{ VM_ONE, false, 'G', NOWHERE },
	{ VM_ONE, false, 'R', EVERYWHERE("3:77") },
	{ VM_HYBRID, true, 'P', EVERYWHERE("V_1024") },
	{ VM_HYBRID, true, 'G', EVERYWHERE("V_G") },
	{ VM_HYBRID, true, 'R', EVERYWHERE("V_77 V_R") },
	{ VM_HYBRID, false, 'P', EVERYWHERE("V:1024") },
	{ VM_HYBRID, false, 'G', EVERYWHERE("V:G") },
	{ VM_HYBRID, false, 'R', EVERYWHERE("V:77") },
	/* One that does not run, or is not there yet, may be listened for; then nobody is let in. */
	{ VM_DEAD, true, 'P', EVERYWHERE("-1:1024"), "" },
	/* Its CID may be somebody else's by now. */
	{ VM_DEAD, false, 'P', NOWHERE },
	{ VM_DEAD, false, 'R', NOWHERE },
	{ VM_UNKNOWN, true, 'P', EVERYWHERE("-1:1024"), "" },
	{ VM_UNKNOWN, true, 'G', NOWHERE },
	{ VM_UNKNOWN, false, 'P', NOWHERE },
	{ VM_UNKNOWN, false, 'G', NOWHERE },

	/* Without a service there is nothing to dial or to listen for. */
	{ "any", true, '-', NOWHERE },
	{ "loopback", false, '-', NOWHERE },
	{ "parent", false, '-', NOWHERE },
	{ VM_HYBRID, false, '-', NOWHERE },
};

#define GUID_PLAIN "999e53d4-3d5c-4c3e-8779-bed06ec056e1"
#define GUID_ROW "9866c7bc-0c89-4cb0-9427-5b526d1ae83b"
static struct hv_service services[] = {
	/* No port may be the wildcard; one of the template has its own. */
	{ .port = VMADDR_PORT_ANY, .next = &services[1] },
	{ .port = 77, .next = &services[2] },
	{ .port = 78 },
};

static void parse_row(size_t i, struct hv_endpoint *ret)
{
	char url[128];
	static const char *const names[] = {
		['P'] = "/1024", ['G'] = "/" GUID_PLAIN, ['R'] = "/" GUID_ROW, ['-'] = "",
	};
	snprintf(url, sizeof(url), "hyperv://%s%s", meanings[i].vm,
	         names[(unsigned)meanings[i].service]);
	assert_int_equal(hv_endpoint_parse(url, ret, NULL), 0);
}

/* The ways of a row as its columns show them; and the one on AF_VSOCK. */
struct found {
	bool listening;
	char text[128];
	struct hv_endpoint vsock;
	bool has_vsock;
};

static const char *service_name(const struct hv_endpoint *carrier)
{
	static char text[16];
	struct hv_guid with_row;
	assert_int_equal(hv_guid_parse(GUID_ROW, &with_row), 0);
	snprintf(text, sizeof(text), "%u", carrier->port);
	if (carrier->has_port)
		return text;
	return hv_guid_equal(&carrier->address.service, &with_row) ? "R" : "G";
}

static int found_way(void *context, const struct hv_endpoint *carrier, bool as_guest)
{
	static const struct {
		const char *base, *name;
		bool as_guest;
	} bases[] = {
		{ "/nowhere/hv/loopback", "L", true },
		{ "/run/hvrun/silohost", "S", true },
		{ "/run/vm/v", "V", false },
	};
	struct found *found = context;
	size_t length = strlen(found->text);
	char *at = found->text + length;
	size_t room = sizeof(found->text) - length;
	const char *space = length ? " " : "";
	if (carrier->scheme == HV_SCHEME_VSOCK) {
		assert_true(carrier->has_port);
		found->vsock = *carrier;
		found->has_vsock = true;
		snprintf(at, room, "%s%d:%u", space, (int)carrier->cid, carrier->port);
		return 0;
	}
	assert_int_equal(carrier->scheme, HV_SCHEME_HYBRID);
	size_t i = 0;
	while (strcmp(carrier->path, bases[i].base) != 0)
		assert_true(++i < array_size(bases));
	/* Whose socket it is, is who is expected there. */
	enum hv_vm_kind kind = hv_vm_kind(&carrier->address.vm);
	if (i == 0)
		assert_int_equal(kind, HV_VM_LOOPBACK);
	else if (i == 1)
		assert_true(kind == HV_VM_PARENT || kind == HV_VM_SILOHOST);
	else
		assert_true(hv_guid_equal(&carrier->address.vm, &vm_hybrid));
	assert_int_equal(as_guest, bases[i].as_guest);
	snprintf(at, room, "%s%s%c%s", space, bases[i].name, as_guest || found->listening ? '_' : ':',
	         service_name(carrier));
	return 0;
}

/* Who of those that come over AF_VSOCK may come in. */
static void check_admitted(size_t i, const struct found *found, const struct hv_machine *machine)
{
	static const uint32_t cids[] = { 0, 1, 2, 3, 4, 5, 6, VMADDR_CID_ANY };
	char text[64] = "";
	assert_int_equal(vsock_check_listen(&found->vsock.address.vm, machine), 0);
	for (size_t n = 0; n < array_size(cids); n++) {
		struct sockaddr_vm from = { .svm_cid = cids[n], .svm_port = 5 };
		struct hv_peer peer;
		vsock_label(&from, machine->is_guest, machine->children, &peer);
		if (cids[n] && hv_admit(&found->vsock.address, machine->children, &peer) == 0)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%d",
			         *text ? " " : "", (int)cids[n]);
	}
	if (strcmp(text, meanings[i].admitted) != 0)
		fail_msg("row %zu, %s: lets in %s", i, meanings[i].vm, text);
}

/* The verbs refuse the same, without a socket, and there are words for it. */
static void check_refused(const struct hv_endpoint *endpoint, bool listening,
                          struct hv_machine *machine, struct hv_children *children)
{
	struct hv_listener listener = HV_LISTENER_NULL;
	bool pending;
	int r = listening ? hv_listen(&listener, endpoint, children, machine)
	                  : hv_connect(endpoint, machine, false, &pending);
	assert_int_equal(r, NO);
	assert_int_equal(listener.fd, -1);
	assert_null(listener.ways);
	hv_listener_close(&listener);
	assert_non_null(hv_refusal(endpoint, listening, machine));
}

static void check_cell(size_t i, size_t column, struct hv_children *children)
{
	struct hv_endpoint endpoint;
	struct hv_machine machine = machines[column].machine;
	struct found found = { .listening = meanings[i].listening };
	const char *expected = meanings[i].ways[column];
	machine.children = children;
	machine.services = services;
	parse_row(i, &endpoint);
	int r = hv_ways(&endpoint, meanings[i].listening, children, &machine, found_way, &found);
	if (r != (expected ? 0 : NO) || strcmp(found.text, expected ? expected : "") != 0)
		fail_msg("row %zu, %s %c on a %s: %d, \"%s\"", i, meanings[i].vm, meanings[i].service,
		         machines[column].name, r, found.text);
	if (meanings[i].listening && found.has_vsock)
		check_admitted(i, &found, &machine);
	if (!meanings[i].listening && found.has_vsock)
		assert_int_equal(vsock_check_dial(found.vsock.cid, &machine), 0);
	if (!expected)
		check_refused(&endpoint, meanings[i].listening, &machine, children);
	else if (!strchr(expected, 'S'))
		assert_null(hv_refusal(&endpoint, meanings[i].listening, &machine));
}

static void test_ways(void **state)
{
	(void)state;
	struct hv_children children = registry();
	assert_int_equal(setenv("HVSOCKET_LOOPBACK_DIR", "/nowhere/hv", 1), 0);
	assert_int_equal(hv_guid_parse(GUID_ROW, &services[1].guid), 0);
	assert_int_equal(hv_guid_parse(GUID_PLAIN, &services[0].guid), 0);
	services[2].guid = hv_guid_from_port(1024);
	for (size_t i = 0; i < array_size(meanings); i++) {
		for (size_t column = 0; column < array_size(machines); column++)
			check_cell(i, column, &children);
	}
}

static void test_no_port(void **state)
{
	static const char *const urls[] = {
		"vsock://17", "vsock://any", "hybrid:///run/x", "hyperv://loopback",
	};
	(void)state;
	for (size_t i = 0; i < array_size(urls); i++) {
		struct hv_endpoint endpoint;
		struct hv_listener listener;
		bool pending;
		assert_int_equal(hv_endpoint_parse(urls[i], &endpoint, NULL), 0);
		assert_int_equal(hv_connect(&endpoint, &guest_with_loopback, false, &pending), NO);
		assert_int_equal(hv_listen(&listener, &endpoint, NULL, &guest_with_loopback), NO);
	}
	struct hv_endpoint endpoint = {
		.scheme = HV_SCHEME_VSOCK, .cid = 17, .has_service = true, .address.service = foreign,
	};
	bool pending;
	assert_int_equal(hv_connect(&endpoint, &guest, false, &pending), NO);
}

static void test_capabilities(void **state)
{
	static const struct {
		enum hv_scheme scheme;
		struct hv_capabilities expected;
	} rows[] = {
#define IDENTITY(kind) .peer_identity = HV_IDENTITY_##kind, .write_hint = 65536
		{ HV_SCHEME_HYPERV, { IDENTITY(CREDENTIALS) } },
		{ HV_SCHEME_VSOCK, { IDENTITY(CID) } },
		{ HV_SCHEME_HYBRID, { .peek = true, IDENTITY(CREDENTIALS) } },
		{ HV_SCHEME_UNIX,
		  { .half_close = true, .end_is_safe = true, .refuses_fast = true, .peek = true,
		    .survives_suspend = true, IDENTITY(CREDENTIALS) } },
	};
	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		const struct hv_capabilities *got = hv_capabilities(rows[i].scheme);
		const struct hv_capabilities *expected = &rows[i].expected;
		assert_int_equal(got->half_close, expected->half_close);
		assert_int_equal(got->end_is_safe, expected->end_is_safe);
		assert_int_equal(got->refuses_fast, expected->refuses_fast);
		assert_int_equal(got->peek, expected->peek);
		assert_int_equal(got->survives_suspend, expected->survives_suspend);
		assert_int_equal(got->service_guid, expected->service_guid);
		assert_int_equal(got->peer_identity, expected->peer_identity);
		assert_int_equal(got->write_hint, expected->write_hint);
	}
}

/* What this machine is cannot be known here; that asking is harmless and consistent can. */
static void test_probe(void **state)
{
	(void)state;
	struct hv_machine machine;
	hv_machine_probe(&machine);
	if (machine.cid > 2 && machine.cid != VMADDR_CID_ANY)
		assert_true(machine.is_guest);
	assert_null(machine.children);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_label),
		cmocka_unit_test(test_dial_vsock),
		cmocka_unit_test(test_ways),
		cmocka_unit_test(test_no_port),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_probe),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
