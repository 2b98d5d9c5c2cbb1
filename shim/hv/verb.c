/* SPDX-License-Identifier: Apache-2.0 */

/* hv: which verb, with which words. */

#include "shim/hv/service.h"

#include <string.h>

static int print_new_guid(FILE *out, struct fault *fault)
{
	struct hv_guid guid;
	char text[HV_GUID_TEXT];
	int r = hv_guid_random(&guid);
	if (r < 0)
		return fault_errno(fault, r, "hv: a new GUID");
	fprintf(out, "%s\n", hv_guid_format(&guid, text));
	return 0;
}

static int run_guid(int argc, char **argv, FILE *out, struct fault *fault)
{
	if (!argc)
		return print_new_guid(out, fault);
	int r = 0;
	for (int i = 0; i < argc && r >= 0; i++) {
		if (i)
			fputc('\n', out);
		r = strcmp(argv[i], "new") == 0 ? print_new_guid(out, fault)
		                                : hv_explain_guid(argv[i], out, fault);
	}
	return r;
}

static int explain_all(bool endpoints, int argc, char **argv, FILE *out, struct fault *fault)
{
	struct hv_machine machine;
	int r = 0;
	hv_machine_probe(&machine);
	for (int i = 0; i < argc && r >= 0; i++) {
		r = endpoints ? hv_explain_endpoint(argv[i], &machine, out, fault)
		              : hv_explain(argv[i], &machine, out, fault);
		if (r >= 0)
			fputc('\n', out);
	}
	if (r >= 0)
		hv_print_machine(out, &machine);
	return r;
}

int hv_run(int argc, char **argv, FILE *out, struct fault *fault)
{
	if (argc && hv_is_service_verb(argv[0]))
		return hv_service(&registry_system, argc, argv, out, fault);
	if (argc && strcmp(argv[0], "guid") == 0)
		return run_guid(argc - 1, argv + 1, out, fault);
	if (argc && strcmp(argv[0], "address") == 0)
		return explain_all(true, argc - 1, argv + 1, out, fault);
	return explain_all(false, argc, argv, out, fault);
}
