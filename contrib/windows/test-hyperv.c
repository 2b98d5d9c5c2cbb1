/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The Windows transport. Wine has no Hyper-V sockets, and says so with the number that Windows
 * gives without Hyper-V, so that path is real. Everything else runs with TCP on the loopback
 * interface in place of the family: accepting and connecting in the background, readiness, who is
 * let in.
 */

#include "contrib/windows/tcp_family.h"
#include "hvsocket/hyperv.h"

#include <hvsocket.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

/* What we took from the documentation is what the headers of the compiler say. */
_Static_assert(sizeof(SOCKADDR_HV) == HV_SOCKADDR_SIZE, "");
_Static_assert(offsetof(SOCKADDR_HV, VmId) == offsetof(struct hv_sockaddr, vm), "");
_Static_assert(offsetof(SOCKADDR_HV, ServiceId) == offsetof(struct hv_sockaddr, service), "");
_Static_assert(HV_PROTOCOL_RAW == HV_PROTOCOL, "");
_Static_assert(HVSOCKET_CONNECT_TIMEOUT == HYPERV_CONNECT_TIMEOUT, "");
_Static_assert(HVSOCKET_CONTAINER_PASSTHRU == HYPERV_CONTAINER_PASSTHRU, "");
_Static_assert(HVSOCKET_CONNECTED_SUSPEND == HYPERV_CONNECTED_SUSPEND, "");
_Static_assert(HVSOCKET_CONNECT_TIMEOUT_MAX == HYPERV_CONNECT_TIMEOUT_MAX, "");
_Static_assert(AF_MAX <= HV_AF_HYPERV, "a later header may know the family");

static const struct hv_guid one = { { 1 } }, two = { { 2 } };
static const struct hv_machine host = { .cid = VMADDR_CID_ANY, .has_loopback = true };

static void test_guids(void **state)
{
	static const struct {
		const GUID *theirs;
		const struct hv_guid *ours;
	} rows[] = {
		{ &HV_GUID_ZERO, &hv_guid_zero },
		{ &HV_GUID_BROADCAST, &hv_guid_broadcast },
		{ &HV_GUID_CHILDREN, &hv_guid_children },
		{ &HV_GUID_LOOPBACK, &hv_guid_loopback },
		{ &HV_GUID_PARENT, &hv_guid_parent },
		{ &HV_GUID_SILOHOST, &hv_guid_silohost },
		{ &HV_GUID_VSOCK_TEMPLATE, &hv_guid_vsock_template },
	};
	(void)state;
	for (size_t i = 0; i < array_size(rows); i++)
		assert_memory_equal(rows[i].theirs, rows[i].ours, sizeof(GUID));
}

/* Which address of an accepted socket says who came. */
static void test_label(void **state)
{
	static const struct {
		const struct hv_guid *local, *remote;
		enum hv_vm_kind kind;
		const struct hv_guid *vm;
	} rows[] = {
		{ &one, &two, HV_VM_ONE, &one },
		{ &one, &hv_guid_loopback, HV_VM_ONE, &one },
		{ &one, &hv_guid_zero, HV_VM_ONE, &one },
		{ &hv_guid_parent, &hv_guid_parent, HV_VM_PARENT, &hv_guid_parent },
		{ &hv_guid_parent, &one, HV_VM_PARENT, &hv_guid_parent },
		{ &hv_guid_children, &hv_guid_loopback, HV_VM_LOOPBACK, &hv_guid_loopback },
		{ &hv_guid_loopback, &hv_guid_loopback, HV_VM_LOOPBACK, &hv_guid_loopback },
		{ &hv_guid_silohost, &one, HV_VM_SILOHOST, &hv_guid_silohost },
		/* The remote address alone is nobody's word. */
		{ &hv_guid_zero, &one, HV_VM_ANY, &hv_guid_zero },
		{ &hv_guid_children, &one, HV_VM_ANY, &hv_guid_zero },
		{ &hv_guid_zero, &hv_guid_parent, HV_VM_ANY, &hv_guid_zero },
	};
	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		struct hv_address local = { *rows[i].local, hv_guid_from_port(1) };
		struct hv_address remote = { *rows[i].remote, hv_guid_from_port(77) };
		struct hv_peer peer;
		hyperv_label(&local, &remote, &peer);
		assert_int_equal(peer.kind, rows[i].kind);
		assert_true(hv_guid_equal(&peer.address.vm, rows[i].vm));
		assert_true(hv_guid_equal(&peer.address.service, &remote.service));
		assert_int_equal(peer.identity, HV_IDENTITY_VM);
	}
}

static void parse(struct hv_endpoint *endpoint, const char *vm, unsigned port)
{
	char url[128];
	snprintf(url, sizeof(url), "hyperv://%s/%u", vm, port);
	assert_int_equal(hv_endpoint_parse(url, endpoint, NULL), 0);
}

/* Without Hyper-V there are no such sockets, and the text says why. */
static void test_no_hyperv(void **state)
{
	struct hv_listener listener;
	struct hv_endpoint endpoint;
	bool pending;
	(void)state;
	parse(&endpoint, "any", 5000);
	int r = hv_listen(&listener, &endpoint, NULL, NULL);
	assert_int_equal(r, -WSAEAFNOSUPPORT);
	assert_int_equal(hv_error_from_errno(HV_SCHEME_HYPERV, r), HV_UNSUPPORTED);
	assert_non_null(strstr(hv_error_explain(HV_SCHEME_HYPERV, r), "Hyper-V is not enabled"));
	hv_listener_close(&listener);
	parse(&endpoint, "loopback", 5000);
	assert_int_equal(hv_connect(&endpoint, &host, false, &pending), -WSAEAFNOSUPPORT);
	assert_false(pending);
}

static void use_tcp(const struct hv_guid *local, const struct hv_guid *remote)
{
	hyperv_family = &tcp_family;
	tcp_local = *local;
	tcp_remote = *remote;
	tcp_prepared = 0;
}

/* Nothing that makes no sense reaches the kernel. */
static void test_refused_before(void **state)
{
	static const struct {
		const char *url;
		bool listening;
		int result;
	} rows[] = {
		{ "hyperv://broadcast/5", true, -EADDRNOTAVAIL },
		{ "hyperv://broadcast/5", false, -EADDRNOTAVAIL },
		{ "hyperv://any/5", false, -EADDRNOTAVAIL },
		{ "hyperv://children/5", false, -EADDRNOTAVAIL },
		{ "hyperv://parent/5", false, -EADDRNOTAVAIL },
		{ "hyperv://parent/5", true, -EADDRNOTAVAIL },
		{ "hyperv://loopback", false, -EADDRNOTAVAIL },
		{ "hyperv://any", true, -EADDRNOTAVAIL },
		{ "vsock://host:5", false, -EAFNOSUPPORT },
		{ "vsock://any:5", true, -EAFNOSUPPORT },
		{ "hybrid:///run/x:5", false, -EAFNOSUPPORT },
		{ "unix:///run/x", true, -EAFNOSUPPORT },
	};
	(void)state;
	use_tcp(&one, &two);
	for (size_t i = 0; i < array_size(rows); i++) {
		struct hv_endpoint endpoint;
		struct hv_listener listener;
		bool pending;
		assert_int_equal(hv_endpoint_parse(rows[i].url, &endpoint, NULL), 0);
		int r = rows[i].listening ? hv_listen(&listener, &endpoint, NULL, &host)
		                          : hv_connect(&endpoint, &host, false, &pending);
		if (r != rows[i].result)
			fail_msg("%s: %d", rows[i].url, r);
		assert_non_null(hv_refusal(&endpoint, rows[i].listening, &host));
	}
	assert_int_equal(tcp_prepared, 0);

	static const char *const allowed[] = { "hyperv://any/5", "hyperv://children/5",
	                                       "hyperv://loopback/5", "hyperv://silohost/5" };
	for (size_t i = 0; i < array_size(allowed); i++) {
		struct hv_endpoint endpoint;
		assert_int_equal(hv_endpoint_parse(allowed[i], &endpoint, NULL), 0);
		assert_null(hv_refusal(&endpoint, true, &host));
	}
}

static void start(struct hv_listener *listener, const char *vm, struct hv_children *children)
{
	struct hv_endpoint endpoint;
	parse(&endpoint, vm, 0);
	assert_int_equal(hv_listen(listener, &endpoint, children, NULL), 0);
	struct sockaddr_in in;
	int size = sizeof(in);
	assert_int_equal(getsockname((SOCKET)listener->fd, (struct sockaddr *)&in, &size), 0);
	tcp_port = ntohs(in.sin_port);
}

static int dial(unsigned port)
{
	struct hv_endpoint endpoint;
	bool pending;
	parse(&endpoint, "loopback", port);
	int fd = hv_connect(&endpoint, NULL, false, &pending);
	assert_true(fd >= 0);
	assert_true(pending);
	assert_non_null(hv_connect_event(fd));
	assert_int_equal(hv_wait(fd, HV_WRITABLE, 5000), HV_WRITABLE);
	return fd;
}

static int accept_soon(struct hv_listener *listener, struct hv_peer *peer)
{
	assert_int_equal(WaitForSingleObject(hv_listener_event(listener), 5000), WAIT_OBJECT_0);
	return hv_accept(listener, peer);
}

static void test_connection(void **state)
{
	struct hv_listener listener;
	struct hv_peer peer;
	struct sockaddr_in in;
	char byte;
	int size = sizeof(in);
	(void)state;
	use_tcp(&one, &two);
	start(&listener, "any", NULL);
	assert_int_equal(hv_accept(&listener, &peer), -EAGAIN);
	assert_int_equal(WaitForSingleObject(hv_listener_event(&listener), 0), WAIT_TIMEOUT);

	int client = dial(tcp_port);
	assert_int_equal(hv_connect_finish(client), 0);
	assert_null(hv_connect_event(client));
	assert_int_equal(hv_connect_finish(client), 0);
	int server = accept_soon(&listener, &peer);
	assert_true(server >= 0);
	assert_int_equal(hv_accept(&listener, NULL), -EAGAIN);
	assert_int_equal(tcp_prepared, 3); /* the listener, and both ends */
	assert_int_equal(peer.kind, HV_VM_ONE);
	assert_true(hv_guid_equal(&peer.address.vm, &one));
	char text[HV_PEER_TEXT];
	/* The service is the peer's own; nothing follows the GUIDs here. */
	int length = hv_peer_format(&peer, text, sizeof(text));
	assert_int_equal(length, 79);
	assert_int_equal(strncmp(text, "VM {00000001-0000-0000-0000-000000000000, ", 42), 0);

	/* These fail on Windows, not under Wine, where the context of the socket was not updated. */
	assert_int_equal(getpeername((SOCKET)client, (struct sockaddr *)&in, &size), 0);
	assert_int_equal(ntohs(in.sin_port), tcp_port);
	assert_int_equal(getpeername((SOCKET)server, (struct sockaddr *)&in, &size), 0);

	assert_int_equal(hv_wait(server, HV_READABLE, 0), 0);
	assert_int_equal(hv_wait(server, HV_READABLE | HV_WRITABLE, 0), HV_WRITABLE);
	assert_int_equal(recv((SOCKET)server, &byte, 1, 0), -1);
	assert_int_equal(winsock_error(), -EAGAIN);
	assert_int_equal(send((SOCKET)client, "x", 1, 0), 1);
	assert_int_equal(hv_wait(server, HV_READABLE, 5000), HV_READABLE);
	assert_int_equal(recv((SOCKET)server, &byte, 1, 0), 1);

	/* Half-close: the other direction goes on. */
	assert_int_equal(hv_shutdown(client, SD_SEND), 0);
	assert_true(hv_wait(server, HV_READABLE, 5000) & (HV_READABLE | HV_HANGUP));
	assert_int_equal(recv((SOCKET)server, &byte, 1, 0), 0);
	assert_int_equal(send((SOCKET)server, "y", 1, 0), 1);
	assert_int_equal(hv_wait(client, HV_READABLE, 5000), HV_READABLE);
	assert_int_equal(recv((SOCKET)client, &byte, 1, 0), 1);
	assert_int_equal(byte, 'y');
	assert_int_equal(send((SOCKET)client, "x", 1, 0), -1);
	assert_int_equal(hv_error_from_errno(HV_SCHEME_HYPERV, winsock_error()), HV_GONE);

	assert_int_equal(hv_set_blocking(client), 0);
	hv_close(server);
	assert_int_equal(recv((SOCKET)client, &byte, 1, 0), 0);
	hv_close(client);
	hv_listener_close(&listener);
}

/* Who is let in, after what the kernel says of the connection. */
static void test_admission(void **state)
{
	static struct hv_child child = { .vm = { { 1 } }, .running = true };
	static struct hv_child dead = { .vm = { { 2 } } };
	struct hv_children registry = { 0 };
	assert_int_equal(hv_children_add(&registry, &child), 0);
	assert_int_equal(hv_children_add(&registry, &dead), 0);
	const struct {
		const char *listening;
		struct hv_children *children;
		const struct hv_guid *local, *remote;
		bool admitted;
	} rows[] = {
		{ "any", NULL, &hv_guid_children, &hv_guid_loopback, true },
		{ "any", &registry, &one, &one, true },
		{ "any", &registry, &two, &two, false },
		{ "any", NULL, &two, &two, true },
		{ "children", NULL, &two, &two, true },
		{ "children", NULL, &hv_guid_children, &hv_guid_loopback, false },
		{ "children", NULL, &hv_guid_parent, &hv_guid_parent, false },
		{ "children", &registry, &one, &one, true },
		{ "children", &registry, &two, &two, false },
		{ "00000001-0000-0000-0000-000000000000", NULL, &one, &two, true },
		{ "00000001-0000-0000-0000-000000000000", NULL, &two, &one, false },
		{ "00000001-0000-0000-0000-000000000000", &registry, &one, &two, true },
		{ "00000002-0000-0000-0000-000000000000", &registry, &two, &two, false },
		{ "parent", NULL, &hv_guid_parent, &hv_guid_zero, true },
		{ "parent", NULL, &one, &hv_guid_parent, false },
		{ "loopback", NULL, &hv_guid_children, &hv_guid_loopback, true },
		{ "loopback", NULL, &one, &hv_guid_loopback, false },
	};
	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		struct hv_listener listener;
		char byte;
		use_tcp(rows[i].local, rows[i].remote);
		start(&listener, rows[i].listening, rows[i].children);
		int client = dial(tcp_port);
		assert_int_equal(hv_connect_finish(client), 0);
		int server = accept_soon(&listener, NULL);
		if ((server >= 0) != rows[i].admitted)
			fail_msg("row %u, %s: %d", (unsigned)i, rows[i].listening, server);
		assert_int_equal(listener.refused, rows[i].admitted ? 0 : 1);
		if (!rows[i].admitted) {
			assert_int_equal(server, -EAGAIN);
			assert_int_equal(hv_set_blocking(client), 0);
			assert_true(recv((SOCKET)client, &byte, 1, 0) <= 0);
		}
		hv_close(server);
		hv_close(client);
		hv_listener_close(&listener);
	}
}

static DWORD handles(void)
{
	DWORD count = 0;
	assert_true(GetProcessHandleCount(GetCurrentProcess(), &count));
	return count;
}

/* Refused, given up, gone before it is accepted; and nothing of all that stays behind. */
static void test_failures(void **state)
{
	struct hv_listener listener;
	struct hv_endpoint endpoint;
	bool pending;
	DWORD before = 0;
	(void)state;
	use_tcp(&one, &two);
	for (unsigned round = 0; round < 20; round++) {
		start(&listener, "any", NULL);
		unsigned port = tcp_port;
		int gone = dial(port);
		assert_int_equal(hv_connect_finish(gone), 0);
		struct linger abortive = { 1, 0 };
		assert_int_equal(setsockopt((SOCKET)gone, SOL_SOCKET, SO_LINGER,
		                            (const char *)&abortive, sizeof(abortive)), 0);
		hv_close(gone);
		int client = dial(port);
		assert_int_equal(hv_connect_finish(client), 0);
		int server = accept_soon(&listener, NULL), second = hv_accept(&listener, NULL);
		assert_true(server >= 0);
		hv_close(second);
		hv_close(server);
		hv_close(client);
		hv_listener_close(&listener);

		parse(&endpoint, "loopback", port);
		int refused = hv_connect(&endpoint, NULL, false, &pending);
		assert_true(refused >= 0);
		assert_int_equal(hv_wait(refused, HV_WRITABLE, 10000), HV_WRITABLE);
		int r = hv_connect_finish(refused);
		assert_int_equal(hv_error_from_errno(HV_SCHEME_HYPERV, r), HV_REFUSED);
		hv_close(refused);
		/* Not asked about. */
		int given_up = hv_connect(&endpoint, NULL, false, &pending);
		assert_true(given_up >= 0);
		hv_close(given_up);
		assert_null(hv_connect_event(given_up));
		if (round == 4)
			before = handles();
	}
	assert_true(handles() <= before + 2);
}

static void test_machine(void **state)
{
	struct hv_machine machine;
	(void)state;
	hv_machine_probe(&machine);
	assert_true(machine.has_loopback);
	assert_int_equal(machine.cid, VMADDR_CID_ANY);
	assert_null(machine.children);
	const struct hv_capabilities *capabilities = hv_capabilities(HV_SCHEME_HYPERV);
	assert_true(capabilities->half_close);
	assert_true(capabilities->service_guid);
	assert_false(capabilities->refuses_fast);
	assert_int_equal(capabilities->peer_identity, HV_IDENTITY_VM);
	assert_int_equal(capabilities->write_hint, 65536);
	assert_false(hv_capabilities(HV_SCHEME_UNIX)->half_close);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guids),
		cmocka_unit_test(test_label),
		cmocka_unit_test(test_no_hyperv),
		cmocka_unit_test(test_refused_before),
		cmocka_unit_test(test_connection),
		cmocka_unit_test(test_admission),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_machine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
