/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The semantics of the VM wildcards, row by row, with made-up machines and peers: nothing here
 * reaches an AF_VSOCK connect, because what would is asked at the functions that decide it.
 */

#include "hvsocket/transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define NO (-EADDRNOTAVAIL)

static const struct hv_guid vm_one = { { 1 } }, vm_two = { { 2 } }, vm_dead = { { 3 } };
static const struct hv_guid vm_hybrid = { { 4 } }, vm_unknown = { { 5 } };
static const struct hv_guid foreign = { { 9, 9, 9 } };

static struct hv_child rows_of_children[] = {
	{ .vm = { { 1 } }, .cid = 3, .running = true },
	{ .vm = { { 2 } }, .cid = 4, .running = true },
	{ .vm = { { 3 } }, .cid = 5, .running = false },
	{ .vm = { { 4 } }, .base = "/run/vm/v", .uid = 1000, .running = true },
};

static struct hv_children registry(void)
{
	struct hv_children children = { 0 };
	for (size_t i = 0; i < array_size(rows_of_children); i++)
		assert_int_equal(hv_children_add(&children, &rows_of_children[i]), 0);
	return children;
}

static void test_registry(void **state)
{
	(void)state;
	struct hv_children children = registry();
	struct hv_child same_vm = { .vm = { { 1 } }, .cid = 9 };
	struct hv_child same_cid = { .vm = { { 7 } }, .cid = 3 };
	struct hv_child same_base = { .vm = { { 7 } }, .base = "/run/vm/v" };
	assert_int_equal(hv_children_add(&children, &same_vm), -EEXIST);
	assert_int_equal(hv_children_add(&children, &same_cid), -EEXIST);
	assert_int_equal(hv_children_add(&children, &same_base), -EEXIST);
	static const uint32_t reserved[] = { 1, 2, VMADDR_CID_ANY };
	for (size_t i = 0; i < array_size(reserved); i++) {
		struct hv_child child = { .vm = { { 7 } }, .cid = reserved[i] };
		assert_int_equal(hv_children_add(&children, &child), -EINVAL);
	}
	struct hv_child parent = { .vm = hv_guid_parent, .cid = 9 };
	assert_int_equal(hv_children_add(&children, &parent), -EINVAL);
	struct hv_child relative = { .vm = { { 7 } }, .base = "v" };
	assert_int_equal(hv_children_add(&children, &relative), -EINVAL);

	assert_ptr_equal(hv_children_find(&children, &vm_two), &rows_of_children[1]);
	assert_null(hv_children_find(&children, &vm_unknown));
	assert_null(hv_children_find(NULL, &vm_two));
	assert_ptr_equal(hv_children_find_cid(&children, 5), &rows_of_children[2]);
	assert_null(hv_children_find_cid(&children, 0));
	assert_ptr_equal(hv_children_find_base(&children, "/run/vm/v"), &rows_of_children[3]);
	assert_null(hv_children_find_base(&children, "/run/vm"));

	/* A CID is free again when its row is gone. */
	hv_children_remove(&children, &rows_of_children[0]);
	hv_children_remove(&children, &rows_of_children[0]);
	assert_int_equal(hv_children_add(&children, &same_cid), 0);
	hv_children_remove(&children, &same_cid);
}

/* Who listens × who comes. */
static void test_admit(void **state)
{
	static const struct {
		const char *what;
		const struct hv_guid *listening;
		struct hv_peer peer;
		bool admitted;
	} rows[] = {
#define LOOPBACK_PEER { HV_VM_LOOPBACK, .cid = 1 }
#define PARENT_PEER { HV_VM_PARENT, .cid = 2 }
#define UNKNOWN_PEER { HV_VM_ANY, .cid = 77 }
#define CHILD(n, number) { HV_VM_ONE, { { { n } }, { { 0 } } }, .cid = number }
#define HYBRID_CHILD(user) { HV_VM_ONE, { { { 4 } }, { { 0 } } }, .uid = user }
		{ "any: child", &hv_guid_zero, CHILD(1, 3), true },
		{ "any: parent", &hv_guid_zero, PARENT_PEER, true },
		{ "any: loopback", &hv_guid_zero, LOOPBACK_PEER, true },
		{ "any: unknown", &hv_guid_zero, UNKNOWN_PEER, true },

		{ "children: a child", &hv_guid_children, CHILD(1, 3), true },
		{ "children: another", &hv_guid_children, CHILD(2, 4), true },
		{ "children: hybrid", &hv_guid_children, HYBRID_CHILD(1000), true },
		{ "children: CID 1", &hv_guid_children, LOOPBACK_PEER, false },
		{ "children: CID 2", &hv_guid_children, PARENT_PEER, false },
		{ "children: unknown CID", &hv_guid_children, UNKNOWN_PEER, false },
		{ "children: dead child", &hv_guid_children, CHILD(3, 5), false },
		{ "children: another's CID", &hv_guid_children, CHILD(1, 4), false },
		{ "children: no CID", &hv_guid_children, CHILD(1, 0), false },
		{ "children: unregistered", &hv_guid_children, CHILD(5, 3), false },
		{ "children: wrong uid", &hv_guid_children, HYBRID_CHILD(1001), false },
		{ "children: root is no VMM", &hv_guid_children, HYBRID_CHILD(0), false },

		{ "one: itself", &vm_one, CHILD(1, 3), true },
		{ "one: another", &vm_one, CHILD(2, 4), false },
		{ "one: another's CID", &vm_one, CHILD(1, 4), false },
		{ "one: parent", &vm_one, PARENT_PEER, false },
		{ "one: loopback", &vm_one, LOOPBACK_PEER, false },
		{ "one: unknown", &vm_one, UNKNOWN_PEER, false },
		{ "one: dead", &vm_dead, CHILD(3, 5), false },
		{ "one: never registered", &vm_unknown, CHILD(5, 6), false },
		{ "one: hybrid", &vm_hybrid, HYBRID_CHILD(1000), true },
		{ "one: hybrid, wrong uid", &vm_hybrid, HYBRID_CHILD(1001), false },

		{ "parent: parent", &hv_guid_parent, PARENT_PEER, true },
		{ "parent: loopback", &hv_guid_parent, LOOPBACK_PEER, false },
		{ "parent: child", &hv_guid_parent, CHILD(1, 3), false },
		{ "parent: unknown", &hv_guid_parent, UNKNOWN_PEER, false },

		{ "loopback: loopback", &hv_guid_loopback, LOOPBACK_PEER, true },
		{ "loopback: parent", &hv_guid_loopback, PARENT_PEER, false },
		{ "loopback: child", &hv_guid_loopback, CHILD(1, 3), false },
		{ "loopback: unknown", &hv_guid_loopback, UNKNOWN_PEER, false },

		{ "silohost: parent", &hv_guid_silohost, PARENT_PEER, false },
		{ "silohost: loopback", &hv_guid_silohost, LOOPBACK_PEER, false },
		{ "broadcast: parent", &hv_guid_broadcast, PARENT_PEER, false },
		{ "broadcast: child", &hv_guid_broadcast, CHILD(1, 3), false },
		{ "broadcast: loopback", &hv_guid_broadcast, LOOPBACK_PEER, false },
	};
	(void)state;
	struct hv_children children = registry();
	for (size_t i = 0; i < array_size(rows); i++) {
		struct hv_address listening = { *rows[i].listening, hv_guid_from_port(1024) };
		int r = hv_admit(&listening, &children, &rows[i].peer);
		if (r != (rows[i].admitted ? 0 : -EACCES))
			fail_msg("%s: %d", rows[i].what, r);
	}
	/* Without a registry there are no children. */
	struct hv_address listening = { hv_guid_children, hv_guid_from_port(1024) };
	struct hv_peer peer = CHILD(1, 3);
	assert_int_equal(hv_admit(&listening, NULL, &peer), -EACCES);
}

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

/* A hyperv address, what carries it, and whether the machine has that. */
static const struct {
	const char *url;
	bool listening;
	const struct hv_machine *machine;
	int result;
	enum hv_scheme scheme;
	uint32_t cid;
} mapped[] = {
	{ "hyperv://any/1024", true, &host, 0, HV_SCHEME_VSOCK, VMADDR_CID_ANY },
	{ "hyperv://any/1024", false, &host_with_loopback, NO, 0, 0 },
	{ "hyperv://children/1024", true, &host, 0, HV_SCHEME_VSOCK, VMADDR_CID_ANY },
	{ "hyperv://children/1024", false, &guest_with_loopback, NO, 0, 0 },
	{ "hyperv://parent/1024", true, &guest, 0, HV_SCHEME_VSOCK, VMADDR_CID_ANY },
	{ "hyperv://parent/1024", true, &host, NO, 0, 0 },
	{ "hyperv://parent/1024", false, &guest, 0, HV_SCHEME_VSOCK, 2 },
	{ "hyperv://parent/1024", false, &hv_sock_guest, 0, HV_SCHEME_VSOCK, 2 },
	{ "hyperv://parent/1024", false, &host, NO, 0, 0 },
	{ "hyperv://parent/1024", false, &host_with_loopback, NO, 0, 0 },
	{ "hyperv://loopback/1024", true, &host_with_loopback, 0, HV_SCHEME_VSOCK, 1 },
	{ "hyperv://loopback/1024", true, &guest, NO, 0, 0 },
	{ "hyperv://loopback/1024", false, &guest_with_loopback, 0, HV_SCHEME_VSOCK, 1 },
	{ "hyperv://loopback/1024", false, &host, NO, 0, 0 },
	{ "hyperv://silohost/1024", true, &guest, NO, 0, 0 },
	{ "hyperv://silohost/1024", false, &guest, NO, 0, 0 },
	{ "hyperv://broadcast/1024", true, &guest_with_loopback, NO, 0, 0 },
	{ "hyperv://broadcast/1024", false, &guest_with_loopback, NO, 0, 0 },
	/* A VM of ours: by CID, or through the sockets of its VMM. */
	{ "hyperv://00000001-0000-0000-0000-000000000000/1024", true, &host, 0, HV_SCHEME_VSOCK,
	  VMADDR_CID_ANY },
	{ "hyperv://00000001-0000-0000-0000-000000000000/1024", false, &host, 0, HV_SCHEME_VSOCK, 3 },
	{ "hyperv://00000004-0000-0000-0000-000000000000/1024", true, &host, 0, HV_SCHEME_HYBRID, 0 },
	{ "hyperv://00000004-0000-0000-0000-000000000000/1024", false, &host, 0, HV_SCHEME_HYBRID, 0 },
	/* One that is not (yet) may be listened for, not dialled. */
	{ "hyperv://00000005-0000-0000-0000-000000000000/1024", true, &host, 0, HV_SCHEME_VSOCK,
	  VMADDR_CID_ANY },
	{ "hyperv://00000005-0000-0000-0000-000000000000/1024", false, &host, NO, 0, 0 },
	/* A service outside the template has no port; hybrid sockets have a name for it. */
	{ "hyperv://parent/999e53d4-3d5c-4c3e-8779-bed06ec056e1", true, &guest, NO, 0, 0 },
	{ "hyperv://parent/999e53d4-3d5c-4c3e-8779-bed06ec056e1", false, &guest, NO, 0, 0 },
	{ "hyperv://parent", false, &guest, NO, 0, 0 },
	{ "hyperv://00000004-0000-0000-0000-000000000000/999e53d4-3d5c-4c3e-8779-bed06ec056e1", true,
	  &host, 0, HV_SCHEME_HYBRID, 0 },
};

static void test_map(void **state)
{
	(void)state;
	struct hv_children children = registry();
	for (size_t i = 0; i < array_size(mapped); i++) {
		struct hv_endpoint endpoint, carrier;
		assert_int_equal(hv_endpoint_parse(mapped[i].url, &endpoint, NULL), 0);
		struct hv_machine machine = *mapped[i].machine;
		machine.children = &children;
		carrier = endpoint;
		int r = hv_map_hyperv(&carrier, mapped[i].listening, &children);
		if (r >= 0 && carrier.scheme == HV_SCHEME_VSOCK)
			r = mapped[i].listening ? vsock_check_listen(&carrier.address.vm, &machine)
			                        : vsock_check_dial(carrier.cid, &machine);
		if (r != mapped[i].result)
			fail_msg("%s (row %zu): %d", mapped[i].url, i, r);
		if (r >= 0) {
			assert_int_equal(carrier.scheme, mapped[i].scheme);
			if (carrier.scheme == HV_SCHEME_VSOCK)
				assert_int_equal(carrier.cid, mapped[i].cid);
			else
				assert_string_equal(carrier.path, "/run/vm/v");
			assert_true(hv_address_equal(&carrier.address, &endpoint.address));
			continue;
		}
		/* The verbs refuse the same, without a socket. */
		struct hv_listener listener = HV_LISTENER_NULL;
		bool pending;
		r = mapped[i].listening ? hv_listen(&listener, &endpoint, &children, &machine)
		                        : hv_connect(&endpoint, &machine, false, &pending);
		assert_int_equal(r, mapped[i].result);
		assert_int_equal(listener.fd, -1);
		hv_listener_close(&listener);
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

static void test_capabilities(void **state)
{
	static const struct {
		enum hv_scheme scheme;
		struct hv_capabilities expected;
	} rows[] = {
		{ HV_SCHEME_HYPERV, { false, true, false } },
		{ HV_SCHEME_VSOCK, { false, true, false } },
		{ HV_SCHEME_HYBRID, { false, true, true } },
		{ HV_SCHEME_UNIX, { true, true, false } },
	};
	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		const struct hv_capabilities *got = hv_capabilities(rows[i].scheme);
		assert_int_equal(got->half_close, rows[i].expected.half_close);
		assert_int_equal(got->peer_identity, rows[i].expected.peer_identity);
		assert_int_equal(got->service_guid, rows[i].expected.service_guid);
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
		cmocka_unit_test(test_registry),
		cmocka_unit_test(test_admit),
		cmocka_unit_test(test_label),
		cmocka_unit_test(test_dial_vsock),
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_no_port),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_probe),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
