/* SPDX-License-Identifier: Apache-2.0 */

/* Who may come in: the registry of our own VMs, and the rules of the wildcards, row by row. */

#include "hvsocket/transport.h"
#include "tests/unit/children.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

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
	/* A VM has one vsock device, and that one kernel or VMM behind it. */
	struct hv_child both = { .vm = { { 7 } }, .cid = 9, .base = "/run/vm/w" };
	assert_int_equal(hv_children_add(&children, &both), -EINVAL);

	/* Where one VM's dial arrives, another's VMM must not listen for us; nor the reverse. */
	static const struct {
		const char *base;
		int result;
	} bases[] = {
		{ "/run/vm/v_1024", -EEXIST },
		{ "/run/vm/v_9866c7bc-0c89-4cb0-9427-5b526d1ae83b", -EEXIST },
		{ "/run/vm/v_x", 0 }, { "/run/vm/v_", 0 }, { "/run/vm/v1", 0 }, { "/run/vm/v_1/v", 0 },
		{ "/run/vm", 0 }, { "/run/vm/v_1024_5", 0 },
	};
	for (size_t i = 0; i < array_size(bases); i++) {
		struct hv_child child = { .vm = { { 7 } }, .base = bases[i].base };
		assert_int_equal(hv_children_add(&children, &child), bases[i].result);
		if (!bases[i].result)
			hv_children_remove(&children, &child);
		struct hv_children other = { 0 };
		struct hv_child first = { .vm = { { 8 } }, .base = "/run/vm/v" };
		assert_int_equal(hv_children_add(&other, &child), 0);
		assert_int_equal(hv_children_add(&other, &first), bases[i].result);
	}

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
		{ "any: hybrid child", &hv_guid_zero, HYBRID_CHILD(1000), true },
		{ "any: a VM without a row", &hv_guid_zero, CHILD(5, 6), true },
		/* Not under the name of a VM of ours. */
		{ "any: dead child", &hv_guid_zero, CHILD(3, 5), false },
		{ "any: another's CID", &hv_guid_zero, CHILD(1, 4), false },
		{ "any: wrong uid", &hv_guid_zero, HYBRID_CHILD(1001), false },

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
		{ "parent: dead child", &hv_guid_parent, CHILD(3, 5), false },

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

/* A peer in words: the same on all systems, and what only some know behind it. */
static void test_format(void **state)
{
#define SERVICE(number) hv_guid_from_port(number)
#define VMSOCK "-facb-11e6-bd58-64006a7986d3}"
	const struct {
		struct hv_peer peer;
		const char *text;
	} rows[] = {
		{ { HV_VM_PARENT, { hv_guid_parent, SERVICE(19000) } },
		  "PARENT {a42e7cda-d03f-480c-9cc2-a4de20abb878, 00004a38" VMSOCK },
		{ { HV_VM_PARENT, { hv_guid_parent, SERVICE(19000) }, .cid = 2,
		    .identity = HV_IDENTITY_CID },
		  "PARENT {a42e7cda-d03f-480c-9cc2-a4de20abb878, 00004a38" VMSOCK
		  " (CID 2, port 19000)" },
		{ { HV_VM_LOOPBACK, { hv_guid_loopback, SERVICE(1) }, .uid = 0, .pid = 17,
		    .identity = HV_IDENTITY_CREDENTIALS },
		  "LOOPBACK {e0e16197-dd56-4a10-9195-5ee7a155a838, 00000001" VMSOCK " (uid 0, pid 17)" },
		{ { HV_VM_ONE, { { { 0xda, 0x7c, 0x2e, 0xa4 } }, hv_guid_zero }, .uid = 4294967294,
		    .pid = 0, .identity = HV_IDENTITY_CREDENTIALS },
		  "VM {a42e7cda-0000-0000-0000-000000000000, 00000000-0000-0000-0000-000000000000}"
		  " (uid 4294967294, pid 0)" },
		{ { HV_VM_ONE, { vm_one, hv_guid_broadcast }, .identity = HV_IDENTITY_VM },
		  "VM {00000001-0000-0000-0000-000000000000, ffffffff-ffff-ffff-ffff-ffffffffffff}" },
		{ { HV_VM_ANY, { hv_guid_zero, SERVICE(4294967294) }, .cid = 4294967294,
		    .identity = HV_IDENTITY_CID },
		  "ANY {00000000-0000-0000-0000-000000000000, fffffffe" VMSOCK
		  " (CID 4294967294, port 4294967294)" },
		{ { HV_VM_SILOHOST, { hv_guid_silohost, SERVICE(2) }, .identity = HV_IDENTITY_VM },
		  "SILOHOST {36bd0c5c-7276-4223-88ba-7d03b654c568, 00000002" VMSOCK },
	};
	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		char text[HV_PEER_TEXT], little[8];
		int length = hv_peer_format(&rows[i].peer, text, sizeof(text));
		assert_string_equal(text, rows[i].text);
		assert_int_equal(length, strlen(text));
		assert_int_equal(hv_peer_format(&rows[i].peer, little, sizeof(little)), length);
		assert_memory_equal(little, text, sizeof(little) - 1);
		assert_int_equal(little[sizeof(little) - 1], '\0');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registry),
		cmocka_unit_test(test_admit),
		cmocka_unit_test(test_format),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
