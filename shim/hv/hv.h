/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * hv: what Hyper-V socket addresses mean, and the services that a Windows host knows. It needs
 * nothing but hvsocket/ and is a program of its own on Windows.
 */

#include "hvsocket/hvsocket.h"
#include "oci/fault.h"

#include <stdio.h>

#define HV_OPERANDS "[VERB] [ENDPOINT|GUID|PORT]…"
#define HV_SUMMARY "explain Hyper-V socket addresses, register their services"
#define HV_TEXT \
	"ENDPOINT is one of\n" \
	"  hyperv://VM/SERVICE   VM: a GUID, parent, children, loopback, any or\n" \
	"                        silohost; SERVICE: a port or a GUID\n" \
	"  vsock://CID:PORT      CID: a number, host, local or any\n" \
	"  hybrid:///PATH:PORT   the unix socket of a VMM\n" \
	"  unix:///PATH\n" \
	"Nothing is connected to. VERB is one of\n" \
	"  address ENDPOINT…     explain endpoints\n" \
	"  guid [GUID|PORT]…     explain GUIDs and ports; without any: print a new GUID\n" \
	"  register --name NAME [--guid GUID|PORT]   let VMs use a service; prints its GUID\n" \
	"  unregister GUID|PORT  undo it\n" \
	"  list                  the services of this host\n" \
	"  show GUID|PORT        one of them\n" \
	"The last four are about the registry of a Windows host. With --reg they print what they\n" \
	"would do, or what there is, as a .reg file; elsewhere than on Windows always."

/* Without a verb the words are explained, without any word the machine. */
int hv_run(int argc, char **argv, FILE *out, struct fault *fault);

int hv_explain(const char *word, const struct hv_machine *machine, FILE *out, struct fault *fault);
int hv_explain_endpoint(const char *word, const struct hv_machine *machine, FILE *out,
                        struct fault *fault);
int hv_explain_guid(const char *word, FILE *out, struct fault *fault);
/* A GUID, or a port, which is one. */
bool hv_parse_service(const char *word, struct hv_guid *ret);

/* One line of an explanation. */
void hv_line(FILE *out, const char *name, const char *text, ...) printf_like(3, 4);
void hv_hex(FILE *out, const char *name, const void *bytes, size_t size);

/* What this system would do with an endpoint, and what the machine is. */
void hv_print_dial(FILE *out, const struct hv_endpoint *endpoint, const struct hv_machine *machine);
void hv_print_machine(FILE *out, const struct hv_machine *machine);
