/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Up to containerd 2.2 the input is an Any with the runtime's options, or nothing; since 2.3 it is
 * BootstrapParams. Bytes of the one can be read as the other, since both begin with two strings, so
 * their content decides: only BootstrapParams name the id and the namespace of the command line.
 * Who sends them reads a BootstrapResult. Of the others, those that set MAX_SHIM_VERSION read JSON
 * (and say 2 in it, although they know 3).
 *
 * A bare address and JSON are no valid protobuf, and newer versions fall back to them. No answer
 * has a newline behind it: in the binary one it would be a part of the message.
 */

#include "shim/containerd/bootstrap.h"

#include "oci/json.h"
#include "shim/containerd/any.h"
#include "shim/containerd/pack.h"

#include <string.h>

typedef Containerd__Runtime__Bootstrap__V1__BootstrapParams bootstrap_params;
typedef Containerd__Runtime__Bootstrap__V1__BootstrapResult bootstrap_result;

/* Options that mean something; others' are theirs. */
static const char *const option_types[] = {
	"containerd.runc.v1.Options",
	"runtimeoptions.v1.Options",
};

static const Google__Protobuf__Any *find_options(const bootstrap_params *params)
{
	for (size_t i = 0; i < params->n_extensions; i++) {
		const Google__Protobuf__Any *any = params->extensions[i]->value;
		for (size_t j = 0; j < array_size(option_types); j++) {
			if (any_is(any, option_types[j]))
				return any;
		}
	}
	return NULL;
}

/* NULL: it is something else. */
static bootstrap_params *parse_params(const void *data, size_t size,
                                      const struct shim_command *command)
{
	bootstrap_params *params = containerd__runtime__bootstrap__v1__bootstrap_params__unpack(
		NULL, size, data);

	if (params && !strcmp(params->instance_id, command->id) &&
	    !strcmp(params->namespace_, command->namespace))
		return params;
	containerd__runtime__bootstrap__v1__bootstrap_params__free_unpacked(params, NULL);
	return NULL;
}

static const char *choose(const char *a, const char *b)
{
	return *a ? a : b;
}

static void take_params(struct bootstrap *ret, bootstrap_params *params)
{
	ret->params = params;
	ret->form = BOOTSTRAP_MESSAGE;
	ret->version = 3;
	ret->debug |= params->log_level < CONTAINERD__RUNTIME__BOOTSTRAP__V1__LOG_LEVEL__INFO;
	ret->grpc_address = choose(params->containerd_grpc_address, ret->grpc_address);
	ret->ttrpc_address = choose(params->containerd_ttrpc_address, ret->ttrpc_address);
	ret->publish_binary = choose(params->containerd_binary, ret->publish_binary);
	ret->socket_directory = params->socket_dir;
	ret->options = find_options(params);
}

int bootstrap_parse_options(const void *data, size_t size, Google__Protobuf__Any **ret,
                            struct fault *fault)
{
	*ret = size ? google__protobuf__any__unpack(NULL, size, data) : NULL;
	if (size && !*ret)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "standard input: %zu bytes that are no message of containerd's",
		                 size);
	return 0;
}

int bootstrap_parse(struct bootstrap *ret, const void *data, size_t size,
                    const struct shim_command *command, struct fault *fault)
{
	*ret = (struct bootstrap){
		.form = command->json ? BOOTSTRAP_JSON : BOOTSTRAP_BARE,
		.version = 2,
		.debug = command->debug,
		.grpc_address = command->address,
		.ttrpc_address = command->ttrpc_address,
		.publish_binary = command->publish_binary,
		.socket_directory = "",
	};
	bootstrap_params *params = parse_params(data, size, command);
	if (params) {
		take_params(ret, params);
		return 0;
	}
	int error = bootstrap_parse_options(data, size, &ret->any, fault);
	ret->options = ret->any;
	return error;
}

int bootstrap_read_input(int fd, struct buf *ret, struct fault *fault)
{
	int error = buf_read_all(ret, fd);

	if (error == -EFBIG)
		return fault_set(fault, error, HRESULT_INVALID_ARGUMENT,
		                 "standard input: more than %u bytes", BOOTSTRAP_MAX);
	return error < 0 ? fault_errno(fault, error, "standard input") : 0;
}

int bootstrap_read(struct bootstrap *ret, int fd, const struct shim_command *command,
                   struct fault *fault)
{
	struct buf input = BUF(BOOTSTRAP_MAX + 1);
	int error = bootstrap_read_input(fd, &input, fault);

	if (error < 0)
		*ret = (struct bootstrap){ 0 };
	else
		error = bootstrap_parse(ret, buf_length(&input) ? buf_head(&input) : "",
		                        buf_length(&input), command, fault);
	buf_deinit(&input);
	return error;
}

void bootstrap_deinit(struct bootstrap *bootstrap)
{
	containerd__runtime__bootstrap__v1__bootstrap_params__free_unpacked(bootstrap->params,
	                                                                    NULL);
	google__protobuf__any__free_unpacked(bootstrap->any, NULL);
	*bootstrap = (struct bootstrap){ 0 };
}

static int answer_message(const char *address, struct buf *out)
{
	bootstrap_result result =
		CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_RESULT__INIT;

	result.version = 3;
	result.address = (char *)(uintptr_t)address;
	result.protocol = (char *)(uintptr_t)"ttrpc";
	char *to = buf_reserve(out, protobuf_c_message_get_packed_size(&result.base));
	if (!to)
		return -ENOMEM;
	pack_at((uint8_t *)to, &result.base);
	buf_commit(out, protobuf_c_message_get_packed_size(&result.base));
	return 0;
}

int bootstrap_answer(enum bootstrap_form form, const char *address, struct buf *out)
{
	if (form == BOOTSTRAP_MESSAGE)
		return answer_message(address, out);
	if (form == BOOTSTRAP_BARE)
		return buf_printf(out, "%s", address);
	int error = buf_printf(out, "{\"version\":2,\"address\":");
	if (!error)
		error = json_write_string(out, address, strlen(address), false);
	return error < 0 ? error : buf_printf(out, ",\"protocol\":\"ttrpc\"}");
}
