/* SPDX-License-Identifier: Apache-2.0 */

/* What becomes of an endpoint on Windows: AF_HYPERV, or nothing. */

#include "shim/hv/hv.h"

#include "hvsocket/hyperv.h"

/* The first Windows with such sockets, and the first whose headers tell of them (1607). */
#define FIRST_BUILD 10240
#define PUBLIC_BUILD 14393

void hv_print_dial(FILE *out, const struct hv_endpoint *endpoint, const struct hv_machine *machine)
{
	const char *refusal = hv_refusal(endpoint, false, machine);
	if (refusal)
		hv_line(out, "dials", "refused: %s", refusal);
	else
		hv_line(out, "dials", "AF_HYPERV");
}

/* The real one: GetVersionEx() says what a program's manifest wants to hear. */
static DWORD build_number(void)
{
	typedef LONG WINAPI get_version(OSVERSIONINFOW *);
	OSVERSIONINFOW version = { .dwOSVersionInfoSize = sizeof(version) };
	HMODULE library = GetModuleHandleW(L"ntdll.dll");
	get_version *get = library ? (get_version *)(void *)GetProcAddress(library, "RtlGetVersion")
	                           : NULL;
	return get && get(&version) == 0 ? version.dwBuildNumber : 0;
}

void hv_print_machine(FILE *out, const struct hv_machine *machine)
{
	DWORD build = build_number();
	hv_line(out, "this machine", "%s, Windows build %lu%s",
	        machine->is_guest ? "a guest" : "no guest", build,
	        build < FIRST_BUILD  ? ", which is too old: Windows 10 or Server 2016 is needed" :
	        build < PUBLIC_BUILD ? ", which is early: Windows 10 1607 is the first that is known "
	                               "to work" : "");
	SOCKET socket = INVALID_SOCKET;
	int r = winsock_socket(HV_AF_HYPERV, HV_PROTOCOL, &socket);
	winsock_close(&socket);
	hv_line(out, "sockets", "%s",
	        r < 0 ? hv_error_explain(HV_SCHEME_HYPERV, r) : "of Hyper-V are there");
}
