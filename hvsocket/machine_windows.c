/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a Windows machine is. Nobody says it in one place. The hypervisor tells a virtual processor
 * whether its partition may create others: the host's may, a guest's may not. A guest that has
 * Hyper-V of its own may, too, but has the registry key that its host's integration services keep;
 * and a container is a guest to PARENT, whatever machine it is on.
 */

#include "hvsocket/hyperv.h"

#include <cpuid.h>
#include <string.h>

#define HYPERVISOR_VENDOR 0x40000000
#define HYPERVISOR_FEATURES 0x40000003
#define HYPERVISOR_PRESENT (1u << 31)  /* leaf 1, ECX */
#define MAY_CREATE_PARTITIONS (1u << 0) /* HYPERVISOR_FEATURES, EBX */

static bool is_guest_processor(void)
{
	unsigned a, b, c, d, vendor[3];
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & HYPERVISOR_PRESENT))
		return false;
	__cpuid(HYPERVISOR_VENDOR, a, vendor[0], vendor[1], vendor[2]);
	if (a < HYPERVISOR_FEATURES || memcmp(vendor, "Microsoft Hv", sizeof(vendor)) != 0)
		return false;
	__cpuid(HYPERVISOR_FEATURES, a, b, c, d);
	return !(b & MAY_CREATE_PARTITIONS);
}

static bool has_value(const wchar_t *key, const wchar_t *name)
{
	DWORD size = 0;
	return RegGetValueW(HKEY_LOCAL_MACHINE, key, name, RRF_RT_ANY | RRF_SUBKEY_WOW6464KEY, NULL,
	                    NULL, &size) == ERROR_SUCCESS;
}

void hv_machine_probe(struct hv_machine *ret)
{
	*ret = (struct hv_machine){ .cid = VMADDR_CID_ANY, .has_loopback = true };
	ret->is_guest =
		is_guest_processor() ||
		has_value(L"SOFTWARE\\Microsoft\\Virtual Machine\\Guest\\Parameters",
	                  L"VirtualMachineId") ||
		has_value(L"SYSTEM\\CurrentControlSet\\Control", L"ContainerType");
}
