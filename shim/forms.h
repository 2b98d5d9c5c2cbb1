/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Requests to the agent that carry documents the host passes on as text: it has no need to
 * understand them, and what it does not understand must not get lost.
 */

#include "shim/bridge.h"

/* config: a config.json. */
int form_create(struct bridge *bridge, struct bridge_call *call, const char *id, const char *bundle,
                const char *config, bool hold, bridge_answer_fn *answer, struct fault *fault);
/* process: an OCI process; NULL starts the container's init. */
int form_execute(struct bridge *bridge, struct bridge_call *call, const char *id,
                 const char *process, const struct stdio_streams *streams,
                 bridge_answer_fn *answer, struct fault *fault);
/* parameters: the whole ProcessParameters of a process of the VM. */
int form_execute_vm(struct bridge *bridge, struct bridge_call *call, const char *parameters,
                    const struct stdio_streams *streams, bridge_answer_fn *answer,
                    struct fault *fault);
/* ModifySettings of the VM itself; type is that of settings. */
int form_modify(struct bridge *bridge, struct bridge_call *call, const char *request_type,
                const char *resource_type, const struct json_type *type, const void *settings,
                bridge_answer_fn *answer, struct fault *fault);
int form_update(struct bridge *bridge, struct bridge_call *call, const char *id,
                struct oci_resources *resources, bridge_answer_fn *answer, struct fault *fault);
