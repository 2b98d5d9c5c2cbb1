/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Registering services. A VM can reach no service of its host that has no key in the host's
 * registry; the key's existence is what matters, its ElementName is for people.
 *
 * The key is everybody's, so we are careful guests: what others have registered is neither changed
 * nor removed, even by an administrator, and neither is what Windows needs for itself. Registering
 * the same again is no error, so that scripts may do it.
 */

#include "shim/hv/service.h"

#include "oci/utf8.h"

#include <string.h>

struct wish {
	const char *verb;
	const char *name, *guid, *operand;
	bool reg, help;
};

/* Windows' own. */
static const struct {
	const char *id, *name;
	bool everywhere; /* in the registry of every host; the others are for containers */
} builtins[] = {
	{ "999e53d4-3d5c-4c3e-8779-bed06ec056e1", "VM Session Service", true },
	{ "a5201c21-2770-4c11-a68e-f182edb29220", "VM Session Service-2", true },
	{ "acef5661-84a1-4e44-856b-6245e69f4620", "Guest Compute Service" },
	{ "ae8da506-a019-4553-a52b-902bc0fa0411", "Guest Compute Service sidecar" },
	{ "172dad59-976d-45f2-8b6c-6d1b13f2ac4d", "Guest Compute Service log" },
};

int hv_builtin_at(unsigned index, struct hv_registered *ret)
{
	if (index >= array_size(builtins) || !builtins[index].everywhere)
		return -ENOENT;
	*ret = (struct hv_registered){ 0 };
	memcpy(ret->name, builtins[index].name, strlen(builtins[index].name));
	return hv_guid_parse(builtins[index].id, &ret->id);
}

const char *hv_builtin_name(const struct hv_guid *id)
{
	char text[HV_GUID_TEXT];
	hv_guid_format(id, text);
	for (size_t i = 0; i < array_size(builtins); i++) {
		if (strcmp(text, builtins[i].id) == 0)
			return builtins[i].name;
	}
	return NULL;
}

static int refuse(struct fault *fault, const struct wish *wish, const char *why)
{
	return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "hv %s: %s", wish->verb, why);
}

/* "--name VALUE" and "--name=VALUE": how many words it was, 0 if it is another option. */
static int take_value(const char *option, int argc, char **argv, const char **ret)
{
	size_t length = strlen(option);
	if (strncmp(argv[0], option, length) != 0)
		return 0;
	if (argv[0][length] == '=') {
		*ret = argv[0] + length + 1;
		return 1;
	}
	if (argv[0][length] || argc < 2)
		return 0;
	*ret = argv[1];
	return 2;
}

static int parse_words(struct wish *wish, int argc, char **argv, struct fault *fault)
{
	for (int i = 1, words; i < argc; i += words) {
		words = take_value("--name", argc - i, argv + i, &wish->name);
		if (!words)
			words = take_value("--guid", argc - i, argv + i, &wish->guid);
		if (words)
			continue;
		words = 1;
		if (strcmp(argv[i], "--reg") == 0)
			wish->reg = true;
		else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			wish->help = true;
		else if (argv[i][0] == '-')
			return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 "hv %s: option \"%s\" is unknown or lacks its argument",
			                 wish->verb, argv[i]);
		else if (wish->operand)
			return refuse(fault, wish, "one service at a time");
		else
			wish->operand = argv[i];
	}
	return 0;
}

static bool is_name(const char *name)
{
	size_t length = strlen(name), n;
	if (!length || length >= HV_SERVICE_NAME)
		return false;
	for (size_t i = 0; i < length; i += n) {
		n = utf8_length(name + i, length - i);
		if (!n || (unsigned char)name[i] < ' ' || name[i] == 0x7f)
			return false;
	}
	return true;
}

/* Is it one that anybody may register or remove? */
static int check_own(const struct hv_guid *id, const struct wish *wish, struct fault *fault)
{
	char text[HV_GUID_TEXT];
	const char *builtin = hv_builtin_name(id);
	if (builtin)
		return fault_set(fault, -EPERM, HRESULT_INVALID_ARGUMENT,
		                 "hv %s: %s is Windows' own \"%s\"", wish->verb,
		                 hv_guid_format(id, text), builtin);
	if (hv_vm_kind(id) != HV_VM_ONE)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "hv %s: %s is the VmId of %s, not a service", wish->verb,
		                 hv_guid_format(id, text), hv_vm_kind_name(hv_vm_kind(id)));
	return 0;
}

/* What went wrong with the registry, in words. */
static int explain(int error, const struct wish *wish, const struct hv_guid *id,
                   struct fault *fault)
{
	char text[HV_GUID_TEXT];
	if (error == -EACCES)
		return fault_set(fault, error, HRESULT_FAIL,
		                 "hv %s: only an administrator may change the services of this "
		                 "host: use a shell that was started with \"Run as administrator\"",
		                 wish->verb);
	if (error == -ENOENT)
		return fault_set(fault, error, HRESULT_NOT_FOUND, "hv %s: %s is not registered",
		                 wish->verb, hv_guid_format(id, text));
	return fault_errno(fault, error, "hv %s: %s", wish->verb, hv_guid_format(id, text));
}

static int put(const struct registry *registry, const struct wish *wish,
               const struct hv_registered *service, FILE *out, struct fault *fault)
{
	char text[HV_GUID_TEXT];
	struct hv_registered there;
	int r = registry->read(&service->id, &there);
	if (r < 0 && r != -ENOENT)
		return explain(r, wish, &service->id, fault);
	bool same = r >= 0 && strcmp(there.name, service->name) == 0;
	if (r >= 0 && !there.ours && !same)
		return fault_set(fault, -EEXIST, HRESULT_INVALID_ARGUMENT,
		                 "hv %s: %s is somebody else's already: \"%s\"", wish->verb,
		                 hv_guid_format(&service->id, text), there.name);
	r = same ? 0 : registry->write(service);
	if (r < 0)
		return explain(r, wish, &service->id, fault);
	fprintf(out, "%s\n", hv_guid_format(&service->id, text));
	return 0;
}

static void print_service(FILE *out, const struct hv_registered *service)
{
	struct reg reg = { out, !reg_is_plain(service->name) };
	reg_begin(&reg);
	reg_service(&reg, service);
}

static int run_register(const struct registry *registry, const struct wish *wish, FILE *out,
                        struct fault *fault)
{
	struct hv_registered service = { .ours = true };
	if (!wish->name || wish->operand)
		return refuse(fault, wish, "it needs --name NAME, and nothing but options");
	if (!is_name(wish->name))
		return refuse(fault, wish,
		              "the name must be 1 to 255 bytes of UTF-8 without control characters");
	memcpy(service.name, wish->name, strlen(wish->name) + 1);
	if (wish->guid && !hv_parse_service(wish->guid, &service.id))
		return refuse(fault, wish, "--guid is neither a GUID nor a port");
	int r = wish->guid ? 0 : hv_guid_random(&service.id);
	if (r < 0)
		return fault_errno(fault, r, "hv %s: a new GUID", wish->verb);
	r = check_own(&service.id, wish, fault);
	if (r < 0 || !wish->reg)
		return r < 0 ? r : put(registry, wish, &service, out, fault);
	print_service(out, &service);
	return 0;
}

static int parse_operand(const struct wish *wish, struct hv_guid *ret, struct fault *fault)
{
	if (wish->operand && !wish->name && !wish->guid && hv_parse_service(wish->operand, ret))
		return 0;
	return refuse(fault, wish, "it needs a GUID or a port, and no option but --reg");
}

static int run_unregister(const struct registry *registry, const struct wish *wish, FILE *out,
                          struct fault *fault)
{
	char text[HV_GUID_TEXT];
	struct hv_registered there;
	struct hv_guid id;
	int r = parse_operand(wish, &id, fault);
	if (r >= 0)
		r = check_own(&id, wish, fault);
	if (r < 0)
		return r;
	if (registry->writable) {
		r = registry->read(&id, &there);
		if (r < 0)
			return explain(r, wish, &id, fault);
		if (!there.ours)
			return fault_set(fault, -EPERM, HRESULT_INVALID_ARGUMENT,
			                 "hv %s: %s was registered by somebody else: \"%s\"",
			                 wish->verb, hv_guid_format(&id, text), there.name);
	}
	if (wish->reg) {
		struct reg reg = { .out = out };
		reg_begin(&reg);
		reg_removal(&reg, &id);
		return 0;
	}
	r = registry->remove(&id);
	return r < 0 ? explain(r, wish, &id, fault) : 0;
}

static const char *registered_by(const struct hv_registered *service)
{
	return service->ours ? HV_SERVICE_TAG_TEXT : hv_builtin_name(&service->id) ? "Windows" : "-";
}

/* The next service from *index on; -ENOENT after the last. Other keys are passed over. */
static int next_service(const struct registry *registry, unsigned *index,
                        struct hv_registered *ret)
{
	int r;
	do
		r = registry->at((*index)++, ret);
	while (r == -EINVAL);
	return r;
}

static int list_reg(const struct registry *registry, FILE *out)
{
	struct hv_registered service;
	struct reg reg = { .out = out };
	unsigned i = 0;
	int r;
	while ((r = next_service(registry, &i, &service)) >= 0)
		reg.wide |= !reg_is_plain(service.name);
	reg_begin(&reg);
	i = 0;
	while (r == -ENOENT && next_service(registry, &i, &service) >= 0)
		reg_service(&reg, &service);
	return r;
}

static int list_table(const struct registry *registry, FILE *out)
{
	struct hv_registered service;
	char text[HV_GUID_TEXT];
	unsigned i = 0;
	int r;
	fprintf(out, "%-36s  %-10s  %s\n", "SERVICE", "BY", "NAME");
	while ((r = next_service(registry, &i, &service)) >= 0)
		fprintf(out, "%s  %-10s  %s\n", hv_guid_format(&service.id, text),
		        registered_by(&service), service.name);
	return r;
}

static int run_list(const struct registry *registry, const struct wish *wish, FILE *out,
                    struct fault *fault)
{
	if (wish->operand || wish->name || wish->guid)
		return refuse(fault, wish, "it has no option but --reg");
	int r = wish->reg ? list_reg(registry, out) : list_table(registry, out);
	return r == -ENOENT ? 0 : fault_errno(fault, r, "hv list");
}

static int run_show(const struct registry *registry, const struct wish *wish, FILE *out,
                    struct fault *fault)
{
	struct hv_registered service;
	struct hv_guid id;
	char text[HV_GUID_TEXT];
	int r = parse_operand(wish, &id, fault);
	if (r < 0)
		return r;
	r = registry->read(&id, &service);
	if (r < 0)
		return explain(r, wish, &id, fault);
	if (wish->reg) {
		print_service(out, &service);
		return 0;
	}
	r = hv_explain_guid(hv_guid_format(&id, text), out, fault);
	hv_line(out, "name", "%s", service.name);
	hv_line(out, "registered by", "%s", registered_by(&service));
	hv_line(out, "key", "HKLM\\" HV_SERVICES_KEY "\\%s", reg_key(&id, text));
	return r;
}

static const struct {
	const char *name;
	int (*run)(const struct registry *registry, const struct wish *wish, FILE *out,
	           struct fault *fault);
} verbs[] = {
	{ "register", run_register },
	{ "unregister", run_unregister },
	{ "list", run_list },
	{ "show", run_show },
};

bool hv_is_service_verb(const char *verb)
{
	for (size_t i = 0; i < array_size(verbs); i++) {
		if (strcmp(verb, verbs[i].name) == 0)
			return true;
	}
	return false;
}

int hv_service(const struct registry *registry, int argc, char **argv, FILE *out,
               struct fault *fault)
{
	struct wish wish = { .verb = argv[0], .reg = !registry->writable };
	int r = parse_words(&wish, argc, argv, fault);
	if (r < 0)
		return r;
	if (wish.help) {
		fputs("usage: hv " HV_OPERANDS "\n" HV_TEXT "\n", out);
		return 0;
	}
	for (size_t i = 0; i < array_size(verbs); i++) {
		if (strcmp(wish.verb, verbs[i].name) == 0)
			return verbs[i].run(registry, &wish, out, fault);
	}
	return refuse(fault, &wish, "no such verb");
}
